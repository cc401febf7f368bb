-- Orders to fraud alerts. Two patterns over each card's orders in the order of event time:
-- velocity, four orders within a minute; card testing, a tiny charge and then a large one.

CREATE TEMPORARY TABLE orders_raw (
  `key` BYTES, `value` BYTES,
  `topic` STRING METADATA VIRTUAL, `partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL,
  sent_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  -- The windows' time; a moment before 1970 stands for none or one that cannot be read.
  event_time AS TO_TIMESTAMP_LTZ(COALESCE(TRY_CAST(
    REGEXP_EXTRACT(JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.event_time'), '^[0-9]{1,14}$', 0) AS BIGINT), -1), 3),
  seen AS PROCTIME(),
  WATERMARK FOR event_time AS sent_at - INTERVAL '${lateness}' SECOND(3)  -- why: see sessions.sql
) WITH (${source}, 'topic' = '${prefix}orders');

-- Each field is read out of the JSON once. UNNEST of one row keeps it so: without it the planner would merge the
-- expressions into every statement that uses them, and parse the text anew for each.
CREATE TEMPORARY VIEW orders_read AS
SELECT `key`, `value`, `topic`, `partition`, `offset`, sent_at, event_time, seen, e.*
FROM orders_raw CROSS JOIN UNNEST(ARRAY[ROW(
  DECODE(`value`, 'UTF-8'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.type'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.version'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.event_id'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.user_id'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.card_id'),
  JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.product_id'),
  TRY_CAST(REGEXP_EXTRACT(JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.quantity'), '^-?[0-9]{1,18}$', 0) AS BIGINT),
  TRY_CAST(REGEXP_EXTRACT(JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.amount_cents'), '^-?[0-9]{1,18}$', 0) AS BIGINT),
  TRY_CAST(REGEXP_EXTRACT(COALESCE(JSON_VALUE(DECODE(`value`, 'UTF-8'), '$.discount_cents'), '0'), '^-?[0-9]{1,18}$', 0) AS BIGINT)
)]) AS e (body, type, version, event_id, user_id, card_id, product_id, quantity, amount_cents, discount_cents);

CREATE TEMPORARY VIEW orders_checked AS
SELECT *, CASE
    WHEN body = '{"type":"heartbeat"}' THEN 'heartbeat'
    WHEN `key` IS NULL THEN 'null key'
    WHEN CHAR_LENGTH(DECODE(`value`, 'ISO-8859-1')) > ${max_bytes} THEN 'oversized'
    WHEN body IS NULL OR body IS NOT JSON OBJECT THEN 'malformed'
    WHEN type IS NULL OR type NOT IN ('order_placed') THEN 'unknown type'
    WHEN version IS NULL OR version NOT IN ('1', '2')
      OR event_id IS NULL OR event_id = ''
      OR event_time < TO_TIMESTAMP_LTZ(0, 3)
      OR user_id IS NULL OR user_id = '' OR card_id IS NULL OR card_id = '' OR product_id IS NULL OR product_id = ''
      OR quantity IS NULL OR quantity < 1 OR amount_cents IS NULL OR amount_cents < 0
      OR discount_cents IS NULL OR discount_cents < 0 THEN 'wrong schema'
    WHEN event_time > sent_at + INTERVAL '${lead}' SECOND(3) THEN 'future-dated'
  END AS reason
FROM orders_read;

CREATE TEMPORARY VIEW orders_once AS
SELECT event_id, user_id, card_id, product_id, quantity, amount_cents, discount_cents, version, event_time, sent_at,
  event_time < sent_at - INTERVAL '${lateness}' SECOND(3) AS late
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY seen) AS copy FROM orders_checked WHERE reason IS NULL
) WHERE copy = 1;

CREATE TEMPORARY VIEW orders_in_time AS SELECT card_id, amount_cents, event_time FROM orders_once WHERE NOT late;

CREATE TEMPORARY VIEW velocity AS
SELECT * FROM orders_in_time MATCH_RECOGNIZE (
  PARTITION BY card_id ORDER BY event_time
  MEASURES FIRST(A.event_time) AS first_order, LAST(A.event_time) AS last_order, SUM(A.amount_cents) AS cents
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A{${velocity_orders}}) WITHIN INTERVAL '${velocity}' SECOND(3)
  DEFINE A AS TRUE
);

CREATE TEMPORARY VIEW card_testing AS
SELECT * FROM orders_in_time MATCH_RECOGNIZE (
  PARTITION BY card_id ORDER BY event_time
  MEASURES A.event_time AS first_order, B.event_time AS last_order, A.amount_cents + B.amount_cents AS cents
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B) WITHIN INTERVAL '${test}' SECOND(3)
  DEFINE A AS A.amount_cents < ${test_charge}, B AS B.amount_cents > ${large_charge}
);

EXECUTE STATEMENT SET BEGIN

INSERT INTO ${lake}.orders
SELECT event_id, user_id, card_id, product_id, quantity, amount_cents, discount_cents, event_time, sent_at, late
FROM orders_once;

INSERT INTO ${lake}.fraud_alerts
SELECT card_id, 'velocity', first_order, last_order, CAST(${velocity_orders} AS BIGINT), cents FROM velocity
UNION ALL
SELECT card_id, 'card testing', first_order, last_order, CAST(2 AS BIGINT), cents FROM card_testing;

INSERT INTO dead_letters
SELECT ENCODE(CONCAT_WS('-', `topic`, CAST(`partition` AS STRING), CAST(`offset` AS STRING)), 'UTF-8'), `value`, MAP[
  'reason', ENCODE(reason, 'UTF-8'), 'topic', ENCODE(`topic`, 'UTF-8'),
  'partition', ENCODE(CAST(`partition` AS STRING), 'UTF-8'), 'offset', ENCODE(CAST(`offset` AS STRING), 'UTF-8'),
  'key', `key`], sent_at
FROM orders_checked WHERE reason <> 'heartbeat';

END;
