-- Stock moves to stock levels every ten seconds, and an alert when a product falls below ${low_stock}.
-- The running level is state that must never expire, so this job sets no state TTL.

-- How a record becomes a row, and why the watermark is what it is: see sessions.sql.
CREATE TEMPORARY TABLE moves_raw (
  `value` BYTES, size INT, is_object BOOLEAN,
  type STRING, version STRING, event_id STRING, event_time BIGINT, product_id STRING, quantity BIGINT,
  `key` BYTES, `topic` STRING METADATA VIRTUAL, `partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL,
  headers MAP<STRING, BYTES> METADATA VIRTUAL, traceparent AS headers['traceparent'],
  sent_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  happened_at AS TO_TIMESTAMP_LTZ(CASE WHEN event_time BETWEEN 0 AND ${time_max} THEN event_time ELSE -1 END, 3),
  seen AS PROCTIME(),
  WATERMARK FOR happened_at AS sent_at - INTERVAL '${lateness}' SECOND(3)
) WITH (${source}, 'topic' = '${prefix}stock_moves');

CREATE TEMPORARY VIEW moves_checked AS
SELECT *, CASE
    WHEN type = 'heartbeat' AND DECODE(`value`, 'UTF-8') = '{"type":"heartbeat"}' THEN 'heartbeat'
    WHEN `key` IS NULL THEN 'null key'
    WHEN size > ${max_bytes} THEN 'oversized'
    WHEN NOT is_object THEN 'malformed'
    WHEN type IS NULL OR type NOT IN ('stock_received', 'stock_reserved') THEN 'unknown type'
    WHEN version IS NULL OR version NOT IN ('1')
      OR event_id IS NULL OR event_id = ''
      OR event_time IS NULL OR event_time NOT BETWEEN 0 AND ${time_max}
      OR product_id IS NULL OR product_id = '' OR quantity IS NULL OR quantity < 1 THEN 'wrong schema'
    WHEN happened_at > sent_at + INTERVAL '${lead}' SECOND(3) THEN 'future-dated'
  END AS reason
FROM moves_raw;

CREATE TEMPORARY VIEW moves_once AS
SELECT event_id, product_id, type, quantity, happened_at, sent_at,
  happened_at < sent_at - INTERVAL '${lateness}' SECOND(3) AS late,
  REGEXP_EXTRACT(DECODE(traceparent, 'UTF-8'), '^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$', 1) AS trace_id
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
  FROM TABLE(TUMBLE(TABLE moves_once, DESCRIPTOR(happened_at), INTERVAL '${stock_window}' SECOND(3)))
  WHERE NOT late
  GROUP BY product_id, window_start, window_end, window_time
);

CREATE TEMPORARY VIEW changes AS
SELECT product_id, window_end, stock, LAG(stock) OVER (PARTITION BY product_id ORDER BY window_time) AS before FROM levels;

EXECUTE STATEMENT SET BEGIN

INSERT INTO ${lake}.stock_moves
SELECT event_id, product_id, type, quantity, happened_at, sent_at, late, trace_id FROM moves_once;

INSERT INTO ${lake}.stock_levels SELECT product_id, window_end, delta, stock FROM levels;

INSERT INTO ${lake}.low_stock_alerts
SELECT product_id, window_end, stock FROM changes WHERE stock < ${low_stock} AND before >= ${low_stock};

INSERT INTO dead_letters
SELECT ENCODE(CONCAT_WS('-', `topic`, CAST(`partition` AS STRING), CAST(`offset` AS STRING)), 'UTF-8'), `value`, MAP[
  'reason', ENCODE(reason, 'UTF-8'), 'topic', ENCODE(`topic`, 'UTF-8'),
  'partition', ENCODE(CAST(`partition` AS STRING), 'UTF-8'), 'offset', ENCODE(CAST(`offset` AS STRING), 'UTF-8'),
  'key', `key`, 'traceparent', traceparent], sent_at
FROM moves_checked WHERE reason <> 'heartbeat';

END;
