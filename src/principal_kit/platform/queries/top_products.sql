-- The ten products that earned the most; the product's name decides between equals, so that the answer is one.
SELECT
  product_id,
  CAST(sum(quantity) AS bigint) AS quantity,
  CAST(sum(amount_cents - discount_cents) AS bigint) AS cents
FROM orders
GROUP BY product_id
ORDER BY cents DESC, product_id
LIMIT 10
