INSERT INTO processes (id, kind, started_at, seen_at, stopped_at)
VALUES ('g1', 'gateway', '2026-03-01 12:00:00+00:00', '2026-03-01 12:00:55+00:00', NULL);
INSERT INTO studies (id, study_instance_uid, revision, lane, opened_at, last_instance_at, closed_at, patient_id,
    accession_number, study_date, study_description)
VALUES (1, '1.2.3', 2, 'routine', '2026-03-01 12:00:00+00:00', '2026-03-01 12:00:00+00:00', NULL, 'P1', 'A1', '20260301', 'Head');
INSERT INTO associations (id, process_id, calling_aet, called_aet, remote_address, study_id, opened_at, closed_at)
VALUES ('a1', 'g1', 'MR', 'ONCUE', '10.0.0.1', 1, '2026-03-01 12:00:00+00:00', NULL);
INSERT INTO instances (study_id, revision, series_instance_uid, sop_instance_uid, sop_class_uid, transfer_syntax_uid,
    modality, digest, content_sha256, size_bytes, calling_aet, received_at, current)
VALUES (1, 1, '1.2.4', '1.2.5', '1.2.840.10008.5.1.4.1.1.4', '1.2.840.10008.1.2.1', 'MR', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 10, 'MR', '2026-03-01 12:00:00+00:00', true);
INSERT INTO jobs (id, study_id, revision, state, lane, attempts, token, opened_at)
VALUES (101, 1, 1, 'succeeded', 'routine', 1, 1, '2026-03-01 12:00:00+00:00');
INSERT INTO analyses (job_id, series_instance_uid, input_sha256, grid_digest, algorithm_name, algorithm_version,
    weights_sha256, parameters, case_score, out_of_distribution, priority, rule, policy_sha256, policy_inputs, timings,
    overlays, notes, analysed_at)
VALUES (101, '1.2.4', 'c', 'd', 'diffusion', '1', 'e', '{}', 0.9, 0.0, 'HIGH', 'r', 'f', '{}', '[]', '[]', '[]', '2026-03-01 12:00:00+00:00');
INSERT INTO findings (id, job_id, number, presence, code_value, code_scheme, code_meaning, confidence, volume_ml,
    longest_diameter_mm, tracking_id, tracking_uid)
VALUES (101, 101, 1, 'present', '52988006', 'SCT', 'Lesion', 0.9, 2.5, 20.0, 'Lesion 1', '2.25.1');
INSERT INTO reports (job_id, state, attempts, next_attempt_at) VALUES (101, 'pending', 0, '2026-03-01 12:00:00+00:00');
