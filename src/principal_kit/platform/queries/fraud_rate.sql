-- Of all orders, how many each rule found to be a fraud's, and what they came to. The rules see orders in time only.
SELECT
  rule,
  count(*) AS alerts,
  CAST(sum(orders) AS bigint) AS orders,
  CAST(sum(cents) AS bigint) AS cents,
  CAST(sum(orders) AS double) / nullif((SELECT count(*) FROM orders WHERE NOT late), 0) AS share
FROM fraud_alerts
GROUP BY rule
ORDER BY rule
