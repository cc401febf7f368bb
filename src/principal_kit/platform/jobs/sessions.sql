-- Clicks to visits. A visit ends when its visitor does nothing for ${session_gap} seconds of event time.

CREATE TEMPORARY TABLE clicks_raw (
  -- The format reads each record once and refuses none. A column's type says what it gets: BYTES the record as it came,
  -- INT its length, BOOLEAN whether it is one JSON object; STRING and BIGINT the field of that name. NULL: it is not there.
  -- Text that is none is '', a whole number that is none the lowest of all, so that the rules below refuse both.
  `value` BYTES, size INT, is_object BOOLEAN,
  type STRING, version STRING, event_id STRING, event_time BIGINT, user_id STRING, product_id STRING, device STRING,
  `key` BYTES, `topic` STRING METADATA VIRTUAL, `partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL,
  headers MAP<STRING, BYTES> METADATA VIRTUAL, traceparent AS headers['traceparent'],  -- of the few that are traced
  sent_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  -- The windows' time; a moment before 1970 stands for none or one that cannot be read.
  happened_at AS TO_TIMESTAMP_LTZ(CASE WHEN event_time BETWEEN 0 AND ${time_max} THEN event_time ELSE -1 END, 3),
  seen AS PROCTIME(),
  -- From the moment of sending, not from the events' own times: no broken clock can move it, and no event that was sent
  -- in time can fall behind it, whatever the job is catching up with.
  WATERMARK FOR happened_at AS sent_at - INTERVAL '${lateness}' SECOND(3)
) WITH (${source}, 'topic' = '${prefix}clicks');

CREATE TEMPORARY VIEW clicks_checked AS
SELECT *, CASE
    WHEN type = 'heartbeat' AND DECODE(`value`, 'UTF-8') = '{"type":"heartbeat"}' THEN 'heartbeat'
    WHEN `key` IS NULL THEN 'null key'
    WHEN size > ${max_bytes} THEN 'oversized'
    WHEN NOT is_object THEN 'malformed'
    WHEN type IS NULL OR type NOT IN ('page_viewed', 'product_viewed', 'cart_added', 'checkout_started')
      THEN 'unknown type'
    WHEN version IS NULL OR version NOT IN ('1', '2')
      OR event_id IS NULL OR event_id = '' OR user_id IS NULL OR user_id = ''
      OR event_time IS NULL OR event_time NOT BETWEEN 0 AND ${time_max}
      OR (type <> 'page_viewed' AND (product_id IS NULL OR product_id = ''))
      OR (version = '2' AND device = '') THEN 'wrong schema'
    WHEN happened_at > sent_at + INTERVAL '${lead}' SECOND(3) THEN 'future-dated'
  END AS reason
FROM clicks_raw;

CREATE TEMPORARY VIEW clicks_once AS
SELECT event_id, user_id, NULLIF(product_id, '') AS product_id, type, CASE version WHEN '2' THEN device END AS device,
  happened_at, sent_at, happened_at < sent_at - INTERVAL '${lateness}' SECOND(3) AS late,
  REGEXP_EXTRACT(DECODE(traceparent, 'UTF-8'), '^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$', 1) AS trace_id
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY seen) AS copy FROM clicks_checked WHERE reason IS NULL
) WHERE copy = 1;

EXECUTE STATEMENT SET BEGIN

INSERT INTO ${lake}.clicks
SELECT event_id, user_id, product_id, type, device, happened_at, sent_at, late, trace_id FROM clicks_once;

INSERT INTO ${lake}.sessions
SELECT user_id, window_start, window_end, COUNT(*),
  COUNT(*) FILTER (WHERE type = 'cart_added'), COUNT(*) FILTER (WHERE type = 'checkout_started')
FROM TABLE(SESSION(TABLE clicks_once PARTITION BY user_id, DESCRIPTOR(happened_at), INTERVAL '${session_gap}' SECOND(3)))
WHERE NOT late
GROUP BY user_id, window_start, window_end;

INSERT INTO dead_letters
SELECT ENCODE(CONCAT_WS('-', `topic`, CAST(`partition` AS STRING), CAST(`offset` AS STRING)), 'UTF-8'), `value`, MAP[
  'reason', ENCODE(reason, 'UTF-8'), 'topic', ENCODE(`topic`, 'UTF-8'),
  'partition', ENCODE(CAST(`partition` AS STRING), 'UTF-8'), 'offset', ENCODE(CAST(`offset` AS STRING), 'UTF-8'),
  'key', `key`, 'traceparent', traceparent], sent_at
FROM clicks_checked WHERE reason <> 'heartbeat';

END;
