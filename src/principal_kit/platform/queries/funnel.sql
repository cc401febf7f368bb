-- How many visitors got how far: each step counts only after the one before it, at whatever moment later.
-- The first time a step could be reached is enough to know: who reaches it at all, reaches it then.
WITH page AS (
  SELECT user_id, min(event_time) AS at FROM clicks WHERE type = 'page_viewed' GROUP BY user_id
), product AS (
  SELECT c.user_id, min(c.event_time) AS at
  FROM clicks c JOIN page p ON c.user_id = p.user_id AND c.event_time >= p.at
  WHERE c.type = 'product_viewed' GROUP BY c.user_id
), cart AS (
  SELECT c.user_id, min(c.event_time) AS at
  FROM clicks c JOIN product p ON c.user_id = p.user_id AND c.event_time >= p.at
  WHERE c.type = 'cart_added' GROUP BY c.user_id
), checkout AS (
  SELECT c.user_id, min(c.event_time) AS at
  FROM clicks c JOIN cart p ON c.user_id = p.user_id AND c.event_time >= p.at
  WHERE c.type = 'checkout_started' GROUP BY c.user_id
), ordered AS (
  SELECT o.user_id, min(o.event_time) AS at
  FROM orders o JOIN checkout p ON o.user_id = p.user_id AND o.event_time >= p.at
  GROUP BY o.user_id
)
SELECT 1 AS place, 'page' AS step, count(*) AS visitors FROM page
UNION ALL SELECT 2, 'product', count(*) FROM product
UNION ALL SELECT 3, 'cart', count(*) FROM cart
UNION ALL SELECT 4, 'checkout', count(*) FROM checkout
UNION ALL SELECT 5, 'order', count(*) FROM ordered
ORDER BY place
