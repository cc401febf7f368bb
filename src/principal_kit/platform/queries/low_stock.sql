-- Products below the mark now: the newest level of each.
SELECT product_id, window_end AS since, stock
FROM (
  SELECT product_id, window_end, stock, row_number() OVER (PARTITION BY product_id ORDER BY window_end DESC) AS age
  FROM stock_levels
) AS levels
WHERE age = 1 AND stock < 20
ORDER BY stock, product_id
