-- Clicks to visits. A visit ends when its visitor does nothing for ${session_gap} seconds of event time.

CREATE TEMPORARY TABLE clicks_raw (
  `key` BYTES, `value` BYTES,
  `topic` STRING METADATA VIRTUAL, `partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL,
  sent_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  -- The windows' time; a moment before 1970 stands for none or one that cannot be read.
  event_time AS TO_TIMESTAMP_LTZ(COALESCE(TRY_CAST(
    REGEXP_EXTRACT(JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.event_time'), '^[0-9]{1,14}$', 0) AS BIGINT), -1), 3),
  seen AS PROCTIME(),
  -- From the moment of sending, not from the events' own times: no broken clock can move it, and no event that was sent
  -- in time can fall behind it, whatever the job is catching up with.
  WATERMARK FOR event_time AS sent_at - INTERVAL '${lateness}' SECOND(3)
) WITH (${source}, 'topic' = '${prefix}clicks');

-- Each field is read out of the JSON once. UNNEST of one row keeps it so: without it the planner would merge the
-- expressions into every statement that uses them, and parse the text anew for each.
CREATE TEMPORARY VIEW clicks_read AS
SELECT `key`, `value`, `topic`, `partition`, `offset`, sent_at, event_time, seen, e.*
FROM clicks_raw CROSS JOIN UNNEST(ARRAY[ROW(
  DECODE(`value`, 'UTF-8'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.type'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.version'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.event_id'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.user_id'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.product_id'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.device')
)]) AS e (body, type, version, event_id, user_id, product_id, device);

CREATE TEMPORARY VIEW clicks_checked AS
SELECT *, CASE
    WHEN body = '{"type":"heartbeat"}' THEN 'heartbeat'
    WHEN `key` IS NULL THEN 'null key'
    WHEN CHAR_LENGTH(DECODE(`value`, 'ISO-8859-1')) > ${max_bytes} THEN 'oversized'
    WHEN body IS NULL OR body IS NOT JSON OBJECT THEN 'malformed'
    WHEN type IS NULL OR type NOT IN ('page_viewed', 'product_viewed', 'cart_added', 'checkout_started')
      THEN 'unknown type'
    WHEN version IS NULL OR version NOT IN ('1', '2')
      OR event_id IS NULL OR event_id = '' OR user_id IS NULL OR user_id = ''
      OR event_time < TO_TIMESTAMP_LTZ(0, 3)
      OR (type <> 'page_viewed' AND (product_id IS NULL OR product_id = '')) THEN 'wrong schema'
    WHEN event_time > sent_at + INTERVAL '${lead}' SECOND(3) THEN 'future-dated'
  END AS reason
FROM clicks_read;

CREATE TEMPORARY VIEW clicks_once AS
SELECT event_id, user_id, product_id, type, device, event_time, sent_at,
  event_time < sent_at - INTERVAL '${lateness}' SECOND(3) AS late
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY seen) AS copy FROM clicks_checked WHERE reason IS NULL
) WHERE copy = 1;

EXECUTE STATEMENT SET BEGIN

INSERT INTO ${lake}.clicks
SELECT event_id, user_id, product_id, type, device, event_time, sent_at, late FROM clicks_once;

INSERT INTO ${lake}.sessions
SELECT user_id, window_start, window_end, COUNT(*),
  COUNT(*) FILTER (WHERE type = 'cart_added'), COUNT(*) FILTER (WHERE type = 'checkout_started')
FROM TABLE(SESSION(TABLE clicks_once PARTITION BY user_id, DESCRIPTOR(event_time), INTERVAL '${session_gap}' SECOND(3)))
WHERE NOT late
GROUP BY user_id, window_start, window_end;

INSERT INTO dead_letters
SELECT ENCODE(CONCAT_WS('-', `topic`, CAST(`partition` AS STRING), CAST(`offset` AS STRING)), 'UTF-8'), `value`, MAP[
  'reason', ENCODE(reason, 'UTF-8'), 'topic', ENCODE(`topic`, 'UTF-8'),
  'partition', ENCODE(CAST(`partition` AS STRING), 'UTF-8'), 'offset', ENCODE(CAST(`offset` AS STRING), 'UTF-8'),
  'key', `key`], sent_at
FROM clicks_checked WHERE reason <> 'heartbeat';

END;
