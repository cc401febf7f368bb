-- What was sold in each minute of event time, less discounts, in cents. Late orders change their minute.
SELECT date_trunc('minute', event_time) AS minute, count(*) AS orders, CAST(sum(amount_cents - discount_cents) AS bigint) AS cents
FROM orders
GROUP BY date_trunc('minute', event_time)
ORDER BY minute
