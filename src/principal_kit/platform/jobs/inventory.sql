-- Stock moves to stock levels every ten seconds, and an alert when a product falls below ${low_stock}.
-- The running level is state that must never expire, so this job sets no state TTL.

CREATE TEMPORARY TABLE moves_raw (
  `key` BYTES, `value` BYTES,
  `topic` STRING METADATA VIRTUAL, `partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL,
  sent_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  -- The windows' time; a moment before 1970 stands for none or one that cannot be read.
  event_time AS TO_TIMESTAMP_LTZ(COALESCE(TRY_CAST(
    REGEXP_EXTRACT(JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.event_time'), '^[0-9]{1,14}$', 0) AS BIGINT), -1), 3),
  seen AS PROCTIME(),
  WATERMARK FOR event_time AS sent_at - INTERVAL '${lateness}' SECOND(3)  -- why: see sessions.sql
) WITH (${source}, 'topic' = '${prefix}stock_moves');

-- Each field is read out of the JSON once. UNNEST of one row keeps it so: without it the planner would merge the
-- expressions into every statement that uses them, and parse the text anew for each.
CREATE TEMPORARY VIEW moves_read AS
SELECT `key`, `value`, `topic`, `partition`, `offset`, sent_at, event_time, seen, e.*
FROM moves_raw CROSS JOIN UNNEST(ARRAY[ROW(
  DECODE(`value`, 'UTF-8'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.type'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.version'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.event_id'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.product_id'),
  TRY_CAST(REGEXP_EXTRACT(JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.quantity'), '^-?[0-9]{1,18}$', 0) AS BIGINT)
)]) AS e (body, type, version, event_id, product_id, quantity);

CREATE TEMPORARY VIEW moves_checked AS
SELECT *, CASE
    WHEN body = '{"type":"heartbeat"}' THEN 'heartbeat'
    WHEN `key` IS NULL THEN 'null key'
    WHEN CHAR_LENGTH(DECODE(`value`, 'ISO-8859-1')) > ${max_bytes} THEN 'oversized'
    WHEN body IS NULL OR body IS NOT JSON OBJECT THEN 'malformed'
    WHEN type IS NULL OR type NOT IN ('stock_received', 'stock_reserved') THEN 'unknown type'
    WHEN version IS NULL OR version NOT IN ('1')
      OR event_id IS NULL OR event_id = ''
      OR event_time < TO_TIMESTAMP_LTZ(0, 3)
      OR product_id IS NULL OR product_id = '' OR quantity IS NULL OR quantity < 1 THEN 'wrong schema'
    WHEN event_time > sent_at + INTERVAL '${lead}' SECOND(3) THEN 'future-dated'
  END AS reason
FROM moves_read;

CREATE TEMPORARY VIEW moves_once AS
SELECT event_id, product_id, type, quantity, event_time, sent_at,
  event_time < sent_at - INTERVAL '${lateness}' SECOND(3) AS late
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY seen) AS copy FROM moves_checked WHERE reason IS NULL
) WHERE copy = 1;

-- One row for each product and ten seconds in which something moved; the level is the sum of all rows so far.
CREATE TEMPORARY VIEW levels AS
SELECT product_id, window_end, window_time, delta,
  SUM(delta) OVER (PARTITION BY product_id ORDER BY window_time) AS stock
FROM (
  SELECT product_id, window_end, window_time,
    SUM(CASE type WHEN 'stock_received' THEN quantity ELSE -quantity END) AS delta
  FROM TABLE(TUMBLE(TABLE moves_once, DESCRIPTOR(event_time), INTERVAL '${stock_window}' SECOND(3)))
  WHERE NOT late
  GROUP BY product_id, window_start, window_end, window_time
);

CREATE TEMPORARY VIEW changes AS
SELECT product_id, window_end, stock, LAG(stock) OVER (PARTITION BY product_id ORDER BY window_time) AS before FROM levels;

EXECUTE STATEMENT SET BEGIN

INSERT INTO ${lake}.stock_moves
SELECT event_id, product_id, type, quantity, event_time, sent_at, late FROM moves_once;

INSERT INTO ${lake}.stock_levels SELECT product_id, window_end, delta, stock FROM levels;

INSERT INTO ${lake}.low_stock_alerts
SELECT product_id, window_end, stock FROM changes WHERE stock < ${low_stock} AND before >= ${low_stock};

INSERT INTO dead_letters
SELECT ENCODE(CONCAT_WS('-', `topic`, CAST(`partition` AS STRING), CAST(`offset` AS STRING)), 'UTF-8'), `value`, MAP[
  'reason', ENCODE(reason, 'UTF-8'), 'topic', ENCODE(`topic`, 'UTF-8'),
  'partition', ENCODE(CAST(`partition` AS STRING), 'UTF-8'), 'offset', ENCODE(CAST(`offset` AS STRING), 'UTF-8'),
  'key', `key`], sent_at
FROM moves_checked WHERE reason <> 'heartbeat';

END;
