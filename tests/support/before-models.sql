INSERT INTO studies (id, study_instance_uid, revision, lane, opened_at, last_instance_at, closed_at, patient_id,
    accession_number, study_date, study_description)
VALUES (1, '1.2.3', 1, 'routine', '2026-03-01 12:00:00+00:00', '2026-03-01 12:00:00+00:00', '2026-03-01 12:01:00+00:00',
    'P1', 'A1', '20260301', 'Abdomen');
INSERT INTO instances (study_id, revision, series_instance_uid, sop_instance_uid, sop_class_uid, transfer_syntax_uid,
    modality, digest, content_sha256, size_bytes, calling_aet, received_at, current)
VALUES (1, 1, '1.2.4', '1.2.5', '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', 'CT', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 10, 'CT', '2026-03-01 12:00:00+00:00', true);
INSERT INTO jobs (id, study_id, revision, state, lane, attempts, token, opened_at, route, routes_sha256, pool, analyser,
    wanted, wanted_sha256)
VALUES (101, 1, 1, 'succeeded', 'routine', 1, 1, '2026-03-01 12:01:00+00:00', 'abdomen', NULL, 'default', 'zero-shot', '[]', ''),
    (102, 1, 1, 'queued', 'routine', 0, 0, '2026-03-01 12:01:00+00:00', 'liver', NULL, 'default', 'zero-shot', '[]', '');
INSERT INTO analyses (job_id, series_instance_uid, input_sha256, grid_digest, algorithm_name, algorithm_version,
    weights_sha256, parameters, case_score, out_of_distribution, priority, rule, policy_sha256, policy_inputs, timings,
    overlays, notes, analysed_at, superseded_at, superseded_by, withheld)
VALUES (101, '1.2.4', 'c', 'd', 'diffusion', '1', 'e', '{}', 0.9, 0.0, 'HIGH', 'r', 'f', '{}', '[]', '[]', '[]',
    '2026-03-01 12:02:00+00:00', NULL, NULL, NULL);
INSERT INTO findings (id, job_id, number, presence, code_value, code_scheme, code_meaning, confidence, volume_ml,
    longest_diameter_mm, tracking_id, tracking_uid, extent, area_mm2)
VALUES (201, 101, 1, 'present', '52988006', 'SCT', 'Lesion', 0.9, 2.5, 20.0, 'Lesion 1', '2.25.1', 'volume', 0.0),
    (202, 101, 2, 'present', '52988006', 'SCT', 'Lesion', 0.4, 0.0, 5.0, 'Lesion 2', '2.25.2', 'area', 88.0);
INSERT INTO reports (job_id, state, attempts, next_attempt_at) VALUES (101, 'pending', 0, '2026-03-01 12:02:00+00:00');
