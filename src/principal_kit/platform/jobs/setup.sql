SET 'pipeline.name' = '${job}';
SET 'table.local-time-zone' = 'UTC';

CREATE CATALOG ${catalog} WITH (${catalog_options});

CREATE TEMPORARY TABLE dead_letters (
  `key` BYTES, `value` BYTES, headers MAP<STRING, BYTES> METADATA, sent_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp'
) WITH (${dead_letters});

