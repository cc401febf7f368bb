-- Alerts of each rule, and the share of all orders and of all money that they are about.
SELECT rule, count(*) AS alerts, CAST(sum(alerts.orders) AS bigint) AS orders, CAST(sum(alerts.cents) AS bigint) AS cents,
  CAST(sum(alerts.orders) AS double precision) / (SELECT count(*) FROM orders) AS share_of_orders
FROM fraud_alerts AS alerts
GROUP BY rule
ORDER BY rule
