SET 'pipeline.name' = '${job}';
SET 'table.local-time-zone' = 'UTC';
-- A view that several statements read is planned once, with the columns of all. Else each gets a copy of its own: every
-- record would be checked three times, and its id kept in two states.
SET 'table.optimizer.reuse-optimize-block-with-digest-enabled' = 'true';

CREATE CATALOG ${catalog} WITH (${catalog_options});

CREATE TEMPORARY TABLE dead_letters (
  `key` BYTES, `value` BYTES, headers MAP<STRING, BYTES> METADATA, sent_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp'
) WITH (${dead_letters});

