-- What was earned in each minute of the shop's day, less discounts; a late order counts in the minute it was placed in.
SELECT
  date_trunc('minute', event_time) AS minute,
  count(*) AS orders,
  CAST(sum(amount_cents - discount_cents) AS bigint) AS cents
FROM orders
GROUP BY 1
ORDER BY 1
