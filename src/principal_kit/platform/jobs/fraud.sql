-- Orders to fraud alerts. Two patterns over each card's orders in the order of event time:
-- velocity, four orders within a minute; card testing, a tiny charge and then a large one.

-- How a record becomes a row, and why the watermark is what it is: see sessions.sql.
CREATE TEMPORARY TABLE orders_raw (
  `value` BYTES, size INT, is_object BOOLEAN,
  type STRING, version STRING, event_id STRING, event_time BIGINT, user_id STRING, card_id STRING,
  product_id STRING, quantity BIGINT, amount_cents BIGINT, discount_cents BIGINT,
  `key` BYTES, `topic` STRING METADATA VIRTUAL, `partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL,
  headers MAP<STRING, BYTES> METADATA VIRTUAL, traceparent AS headers['traceparent'],
  sent_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  happened_at AS TO_TIMESTAMP_LTZ(CASE WHEN event_time BETWEEN 0 AND ${time_max} THEN event_time ELSE -1 END, 3),
  seen AS PROCTIME(),
  WATERMARK FOR happened_at AS sent_at - INTERVAL '${lateness}' SECOND(3)
) WITH (${source}, 'topic' = '${prefix}orders');

CREATE TEMPORARY VIEW orders_checked AS
SELECT *, CASE
    WHEN type = 'heartbeat' AND DECODE(`value`, 'UTF-8') = '{"type":"heartbeat"}' THEN 'heartbeat'
    WHEN `key` IS NULL THEN 'null key'
    WHEN size > ${max_bytes} THEN 'oversized'
    WHEN NOT is_object THEN 'malformed'
    WHEN type IS NULL OR type NOT IN ('order_placed') THEN 'unknown type'
    WHEN version IS NULL OR version NOT IN ('1', '2')
      OR event_id IS NULL OR event_id = ''
      OR event_time IS NULL OR event_time NOT BETWEEN 0 AND ${time_max}
      OR user_id IS NULL OR user_id = '' OR card_id IS NULL OR card_id = '' OR product_id IS NULL OR product_id = ''
      OR quantity IS NULL OR quantity < 1 OR amount_cents IS NULL OR amount_cents < 0
      OR (version = '2' AND discount_cents < 0) THEN 'wrong schema'
    WHEN happened_at > sent_at + INTERVAL '${lead}' SECOND(3) THEN 'future-dated'
  END AS reason
FROM orders_raw;

CREATE TEMPORARY VIEW orders_once AS
SELECT event_id, user_id, card_id, product_id, quantity, amount_cents,
  CASE WHEN version = '2' AND discount_cents IS NOT NULL THEN discount_cents ELSE 0 END AS discount_cents,
  happened_at, sent_at, happened_at < sent_at - INTERVAL '${lateness}' SECOND(3) AS late,
  REGEXP_EXTRACT(DECODE(traceparent, 'UTF-8'), '^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$', 1) AS trace_id
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY seen) AS copy FROM orders_checked WHERE reason IS NULL
) WHERE copy = 1;

CREATE TEMPORARY VIEW orders_in_time AS SELECT card_id, amount_cents, happened_at FROM orders_once WHERE NOT late;

CREATE TEMPORARY VIEW velocity AS
SELECT * FROM orders_in_time MATCH_RECOGNIZE (
  PARTITION BY card_id ORDER BY happened_at
  MEASURES FIRST(A.happened_at) AS first_order, LAST(A.happened_at) AS last_order, SUM(A.amount_cents) AS cents
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A{${velocity_orders}}) WITHIN INTERVAL '${velocity}' SECOND(3)
  DEFINE A AS TRUE
);

CREATE TEMPORARY VIEW card_testing AS
SELECT * FROM orders_in_time MATCH_RECOGNIZE (
  PARTITION BY card_id ORDER BY happened_at
  MEASURES A.happened_at AS first_order, B.happened_at AS last_order, A.amount_cents + B.amount_cents AS cents
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B) WITHIN INTERVAL '${test}' SECOND(3)
  DEFINE A AS A.amount_cents < ${test_charge}, B AS B.amount_cents > ${large_charge}
);

EXECUTE STATEMENT SET BEGIN

INSERT INTO ${lake}.orders
SELECT event_id, user_id, card_id, product_id, quantity, amount_cents, discount_cents, happened_at, sent_at, late,
  trace_id
FROM orders_once;

INSERT INTO ${lake}.fraud_alerts
SELECT card_id, 'velocity', first_order, last_order, CAST(${velocity_orders} AS BIGINT), cents FROM velocity
UNION ALL
SELECT card_id, 'card testing', first_order, last_order, CAST(2 AS BIGINT), cents FROM card_testing;

INSERT INTO dead_letters
SELECT ENCODE(CONCAT_WS('-', `topic`, CAST(`partition` AS STRING), CAST(`offset` AS STRING)), 'UTF-8'), `value`, MAP[
  'reason', ENCODE(reason, 'UTF-8'), 'topic', ENCODE(`topic`, 'UTF-8'),
  'partition', ENCODE(CAST(`partition` AS STRING), 'UTF-8'), 'offset', ENCODE(CAST(`offset` AS STRING), 'UTF-8'),
  'key', `key`, 'traceparent', traceparent], sent_at
FROM orders_checked WHERE reason <> 'heartbeat';

END;
