-- What are the latest figures of each model, for everybody and for each subgroup?
-- One row a model version, candidate, scope, metric, parameter and subgroup (NULL: everybody), the active model first.
-- Runs unchanged on PostgreSQL and SQLite. Latest: by as-of date, then by when it was measured. `difference` is the
-- subgroup's figure less everybody's. A NULL figure with samples is not defined by the data (an AUC of one class);
-- without samples it is of a subgroup of too few students to show. Figures of models with another `label_hash` are about
-- another event: they are not to be compared. NULL: of a model from before it was kept.
WITH latest AS (
    SELECT e.*,
           ROW_NUMBER() OVER (
               PARTITION BY e.tenant_id, e.model_version, e.candidate, e.scope, e.metric, e.parameter, e.subgroup
               ORDER BY e.as_of_date DESC, e.evaluated_at DESC
           ) AS newest
    FROM model_evaluations e
)
SELECT l.tenant_id, l.model_version, m.is_active, m.label_hash, l.candidate, l.scope, l.as_of_date, l.metric,
       NULLIF(l.parameter, '') AS parameter,
       NULLIF(l.subgroup, '') AS subgroup,
       l.value, l.samples,
       CASE WHEN l.subgroup <> '' THEN l.value - everybody.value END AS difference,
       CASE WHEN l.value IS NOT NULL THEN 'measured'
            WHEN l.samples IS NULL THEN 'too few students to show'
            ELSE 'not defined' END AS standing
FROM latest l
JOIN model_metadata m ON m.tenant_id = l.tenant_id AND m.model_version = l.model_version
LEFT JOIN latest everybody
       ON everybody.tenant_id = l.tenant_id AND everybody.model_version = l.model_version
      AND everybody.candidate = l.candidate AND everybody.scope = l.scope AND everybody.as_of_date = l.as_of_date
      AND everybody.metric = l.metric AND everybody.parameter = l.parameter
      AND everybody.subgroup = '' AND everybody.newest = 1
WHERE l.newest = 1
ORDER BY l.tenant_id, m.is_active DESC, l.model_version DESC, l.candidate, l.scope, l.metric, l.parameter, l.subgroup;
