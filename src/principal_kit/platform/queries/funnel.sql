-- How many users came as far as each step.
SELECT 1 AS step, 'saw a page' AS what, count(DISTINCT user_id) AS users FROM clicks
UNION ALL
SELECT 2, 'saw a product', count(DISTINCT user_id) FROM clicks WHERE type = 'product_viewed'
UNION ALL
SELECT 3, 'filled a cart', count(DISTINCT user_id) FROM clicks WHERE type = 'cart_added'
UNION ALL
SELECT 4, 'began to pay', count(DISTINCT user_id) FROM clicks WHERE type = 'checkout_started'
UNION ALL
SELECT 5, 'ordered', count(DISTINCT user_id) FROM orders
ORDER BY step
