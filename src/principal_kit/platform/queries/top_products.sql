-- The ten products that brought most.
SELECT product_id, count(*) AS orders, CAST(sum(quantity) AS bigint) AS pieces, CAST(sum(amount_cents - discount_cents) AS bigint) AS cents
FROM orders
GROUP BY product_id
ORDER BY cents DESC, product_id
LIMIT 10
