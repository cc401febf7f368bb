-- The ten products that brought most.
SELECT product_id, count(*) AS orders, sum(quantity) AS pieces, sum(amount_cents - discount_cents) AS cents
FROM orders
GROUP BY product_id
ORDER BY cents DESC, product_id
LIMIT 10
