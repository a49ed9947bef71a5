BEGIN TRANSACTION;
CREATE TABLE counts (
    variation INTEGER NOT NULL, measure TEXT NOT NULL, value NOT NULL, outcome TEXT NOT NULL,
    runs INTEGER NOT NULL,
    PRIMARY KEY (variation, measure, value, outcome)
) WITHOUT ROWID;
INSERT INTO "counts" VALUES(1,'duration',706,'success',1);
INSERT INTO "counts" VALUES(1,'duration',951,'error',1);
INSERT INTO "counts" VALUES(1,'duration',1063,'success',1);
INSERT INTO "counts" VALUES(1,'duration',1742,'success',1);
INSERT INTO "counts" VALUES(1,'duration',1794,'none',1);
INSERT INTO "counts" VALUES(1,'duration',1872,'success',1);
INSERT INTO "counts" VALUES(1,'duration',2467,'success',1);
INSERT INTO "counts" VALUES(1,'feedback',-1,'error',1);
INSERT INTO "counts" VALUES(1,'feedback',-1,'none',1);
INSERT INTO "counts" VALUES(1,'feedback',-1,'success',1);
INSERT INTO "counts" VALUES(1,'feedback',1,'success',2);
INSERT INTO "counts" VALUES(1,'first_token',52,'success',1);
INSERT INTO "counts" VALUES(1,'first_token',62,'none',1);
INSERT INTO "counts" VALUES(1,'first_token',69,'success',1);
INSERT INTO "counts" VALUES(1,'first_token',191,'success',1);
INSERT INTO "counts" VALUES(1,'first_token',284,'error',1);
INSERT INTO "counts" VALUES(1,'first_token',295,'success',2);
INSERT INTO "counts" VALUES(1,'run',1,'error',1);
INSERT INTO "counts" VALUES(1,'run',1,'none',1);
INSERT INTO "counts" VALUES(1,'run',1,'success',5);
INSERT INTO "counts" VALUES(1,'tokens',23,'error',1);
INSERT INTO "counts" VALUES(1,'tokens',35,'success',1);
INSERT INTO "counts" VALUES(1,'tokens',41,'success',1);
INSERT INTO "counts" VALUES(1,'tokens',92,'none',1);
INSERT INTO "counts" VALUES(1,'tokens',197,'success',1);
INSERT INTO "counts" VALUES(1,'tokens',254,'success',1);
INSERT INTO "counts" VALUES(1,'tokens',287,'success',1);
INSERT INTO "counts" VALUES(1,'tool_calls',1,'error',1);
INSERT INTO "counts" VALUES(1,'tool_calls',1,'none',1);
INSERT INTO "counts" VALUES(1,'tool_calls',1,'success',1);
INSERT INTO "counts" VALUES(1,'tool_calls',2,'success',3);
INSERT INTO "counts" VALUES(2,'duration',1301,'error',1);
INSERT INTO "counts" VALUES(2,'duration',1312,'error',1);
INSERT INTO "counts" VALUES(2,'duration',1524,'none',1);
INSERT INTO "counts" VALUES(2,'duration',1709,'success',1);
INSERT INTO "counts" VALUES(2,'duration',1855,'success',1);
INSERT INTO "counts" VALUES(2,'duration',2150,'none',1);
INSERT INTO "counts" VALUES(2,'duration',2173,'none',1);
INSERT INTO "counts" VALUES(2,'duration',2780,'success',1);
INSERT INTO "counts" VALUES(2,'feedback',-1,'error',1);
INSERT INTO "counts" VALUES(2,'feedback',-1,'success',1);
INSERT INTO "counts" VALUES(2,'feedback',1,'none',2);
INSERT INTO "counts" VALUES(2,'feedback',1,'success',1);
INSERT INTO "counts" VALUES(2,'first_token',62,'success',1);
INSERT INTO "counts" VALUES(2,'first_token',104,'success',1);
INSERT INTO "counts" VALUES(2,'first_token',114,'error',1);
INSERT INTO "counts" VALUES(2,'first_token',129,'error',1);
INSERT INTO "counts" VALUES(2,'first_token',174,'none',1);
INSERT INTO "counts" VALUES(2,'first_token',188,'success',1);
INSERT INTO "counts" VALUES(2,'first_token',218,'none',1);
INSERT INTO "counts" VALUES(2,'first_token',258,'none',1);
INSERT INTO "counts" VALUES(2,'run',1,'error',2);
INSERT INTO "counts" VALUES(2,'run',1,'none',3);
INSERT INTO "counts" VALUES(2,'run',1,'success',3);
INSERT INTO "counts" VALUES(2,'tokens',73,'success',1);
INSERT INTO "counts" VALUES(2,'tokens',87,'error',1);
INSERT INTO "counts" VALUES(2,'tokens',137,'success',1);
INSERT INTO "counts" VALUES(2,'tokens',142,'error',1);
INSERT INTO "counts" VALUES(2,'tokens',167,'none',1);
INSERT INTO "counts" VALUES(2,'tokens',269,'none',1);
INSERT INTO "counts" VALUES(2,'tokens',381,'success',1);
INSERT INTO "counts" VALUES(2,'tokens',384,'none',1);
INSERT INTO "counts" VALUES(2,'tool_calls',1,'error',1);
INSERT INTO "counts" VALUES(2,'tool_calls',1,'none',1);
INSERT INTO "counts" VALUES(2,'tool_calls',1,'success',1);
INSERT INTO "counts" VALUES(2,'tool_calls',2,'none',1);
CREATE TABLE metrics (
    run INTEGER NOT NULL, name TEXT NOT NULL, detail TEXT NOT NULL, scored INTEGER NOT NULL,
    variation INTEGER NOT NULL, value NOT NULL, count INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (run, name, detail)
) WITHOUT ROWID;
INSERT INTO "metrics" VALUES(1,'$ld:ai:duration:total','',0,1,1742.0,1,1750000000000);
INSERT INTO "metrics" VALUES(1,'$ld:ai:generation:success','',0,1,1.0,1,1750000000000);
INSERT INTO "metrics" VALUES(1,'$ld:ai:tokens:total','',0,1,197.0,1,1750000000000);
INSERT INTO "metrics" VALUES(1,'$ld:ai:tokens:ttf','',0,1,295.0,1,1750000000000);
INSERT INTO "metrics" VALUES(1,'$ld:ai:tool_call','search',0,1,2.0,2,1750000000000);
INSERT INTO "metrics" VALUES(2,'$ld:ai:duration:total','',0,1,951.0,1,1750000001000);
INSERT INTO "metrics" VALUES(2,'$ld:ai:feedback:user:negative','',0,1,1.0,1,1750000001000);
INSERT INTO "metrics" VALUES(2,'$ld:ai:generation:error','',0,1,1.0,1,1750000001000);
INSERT INTO "metrics" VALUES(2,'$ld:ai:tokens:total','',0,1,23.0,1,1750000001000);
INSERT INTO "metrics" VALUES(2,'$ld:ai:tokens:ttf','',0,1,284.0,1,1750000001000);
INSERT INTO "metrics" VALUES(2,'$ld:ai:tool_call','search',0,1,1.0,1,1750000001000);
INSERT INTO "metrics" VALUES(3,'$ld:ai:duration:total','',0,1,1063.0,1,1750000002000);
INSERT INTO "metrics" VALUES(3,'$ld:ai:feedback:user:negative','',0,1,1.0,1,1750000002000);
INSERT INTO "metrics" VALUES(3,'$ld:ai:generation:success','',0,1,1.0,1,1750000002000);
INSERT INTO "metrics" VALUES(3,'$ld:ai:tokens:total','',0,1,41.0,1,1750000002000);
INSERT INTO "metrics" VALUES(3,'$ld:ai:tokens:ttf','',0,1,191.0,1,1750000002000);
INSERT INTO "metrics" VALUES(3,'$ld:ai:tool_call','search',0,1,2.0,2,1750000002000);
INSERT INTO "metrics" VALUES(4,'$ld:ai:duration:total','',0,2,1855.0,1,1750000003000);
INSERT INTO "metrics" VALUES(4,'$ld:ai:feedback:user:positive','',0,2,1.0,1,1750000003000);
INSERT INTO "metrics" VALUES(4,'$ld:ai:generation:success','',0,2,1.0,1,1750000003000);
INSERT INTO "metrics" VALUES(4,'$ld:ai:judge:accuracy','accuracy',1,2,7.66107437797952650626e-01,1,1750000003000);
INSERT INTO "metrics" VALUES(4,'$ld:ai:tokens:total','',0,2,73.0,1,1750000003000);
INSERT INTO "metrics" VALUES(4,'$ld:ai:tokens:ttf','',0,2,188.0,1,1750000003000);
INSERT INTO "metrics" VALUES(4,'$ld:ai:tool_call','search',0,2,1.0,1,1750000003000);
INSERT INTO "metrics" VALUES(5,'$ld:ai:duration:total','',0,2,2173.0,1,1750000004000);
INSERT INTO "metrics" VALUES(5,'$ld:ai:feedback:user:positive','',0,2,1.0,1,1750000004000);
INSERT INTO "metrics" VALUES(5,'$ld:ai:tokens:total','',0,2,269.0,1,1750000004000);
INSERT INTO "metrics" VALUES(5,'$ld:ai:tokens:ttf','',0,2,258.0,1,1750000004000);
INSERT INTO "metrics" VALUES(6,'$ld:ai:duration:total','',0,1,706.0,1,1750000005000);
INSERT INTO "metrics" VALUES(6,'$ld:ai:generation:success','',0,1,1.0,1,1750000005000);
INSERT INTO "metrics" VALUES(6,'$ld:ai:tokens:total','',0,1,254.0,1,1750000005000);
INSERT INTO "metrics" VALUES(6,'$ld:ai:tokens:ttf','',0,1,295.0,1,1750000005000);
INSERT INTO "metrics" VALUES(7,'$ld:ai:duration:total','',0,2,2780.0,1,1750000006000);
INSERT INTO "metrics" VALUES(7,'$ld:ai:feedback:user:negative','',0,2,1.0,1,1750000006000);
INSERT INTO "metrics" VALUES(7,'$ld:ai:generation:success','',0,2,1.0,1,1750000006000);
INSERT INTO "metrics" VALUES(7,'$ld:ai:judge:accuracy','accuracy',1,2,2.69367787905268052384e-02,1,1750000006000);
INSERT INTO "metrics" VALUES(7,'$ld:ai:tokens:total','',0,2,137.0,1,1750000006000);
INSERT INTO "metrics" VALUES(7,'$ld:ai:tokens:ttf','',0,2,104.0,1,1750000006000);
INSERT INTO "metrics" VALUES(8,'$ld:ai:duration:total','',0,2,1524.0,1,1750000007000);
INSERT INTO "metrics" VALUES(8,'$ld:ai:feedback:user:positive','',0,2,1.0,1,1750000007000);
INSERT INTO "metrics" VALUES(8,'$ld:ai:judge:accuracy','accuracy',1,2,7.46395196166384389258e-01,1,1750000007000);
INSERT INTO "metrics" VALUES(8,'$ld:ai:tokens:total','',0,2,167.0,1,1750000007000);
INSERT INTO "metrics" VALUES(8,'$ld:ai:tokens:ttf','',0,2,218.0,1,1750000007000);
INSERT INTO "metrics" VALUES(8,'$ld:ai:tool_call','search',0,2,2.0,2,1750000007000);
INSERT INTO "metrics" VALUES(9,'$ld:ai:duration:total','',0,1,1872.0,1,1750000008000);
INSERT INTO "metrics" VALUES(9,'$ld:ai:feedback:user:positive','',0,1,1.0,1,1750000008000);
INSERT INTO "metrics" VALUES(9,'$ld:ai:generation:success','',0,1,1.0,1,1750000008000);
INSERT INTO "metrics" VALUES(9,'$ld:ai:judge:accuracy','accuracy',1,1,5.01602670568033759401e-01,1,1750000008000);
INSERT INTO "metrics" VALUES(9,'$ld:ai:tokens:total','',0,1,35.0,1,1750000008000);
INSERT INTO "metrics" VALUES(9,'$ld:ai:tokens:ttf','',0,1,52.0,1,1750000008000);
INSERT INTO "metrics" VALUES(9,'$ld:ai:tool_call','search',0,1,2.0,2,1750000008000);
INSERT INTO "metrics" VALUES(10,'$ld:ai:duration:total','',0,2,1312.0,1,1750000009000);
INSERT INTO "metrics" VALUES(10,'$ld:ai:generation:error','',0,2,1.0,1,1750000009000);
INSERT INTO "metrics" VALUES(10,'$ld:ai:judge:accuracy','accuracy',1,2,8.46327809128424091156e-01,1,1750000009000);
INSERT INTO "metrics" VALUES(10,'$ld:ai:tokens:total','',0,2,142.0,1,1750000009000);
INSERT INTO "metrics" VALUES(10,'$ld:ai:tokens:ttf','',0,2,129.0,1,1750000009000);
INSERT INTO "metrics" VALUES(11,'$ld:ai:duration:total','',0,2,2150.0,1,1750000010000);
INSERT INTO "metrics" VALUES(11,'$ld:ai:tokens:total','',0,2,384.0,1,1750000010000);
INSERT INTO "metrics" VALUES(11,'$ld:ai:tokens:ttf','',0,2,174.0,1,1750000010000);
INSERT INTO "metrics" VALUES(11,'$ld:ai:tool_call','search',0,2,1.0,1,1750000010000);
INSERT INTO "metrics" VALUES(12,'$ld:ai:duration:total','',0,2,1301.0,1,1750000011000);
INSERT INTO "metrics" VALUES(12,'$ld:ai:feedback:user:negative','',0,2,1.0,1,1750000011000);
INSERT INTO "metrics" VALUES(12,'$ld:ai:generation:error','',0,2,1.0,1,1750000011000);
INSERT INTO "metrics" VALUES(12,'$ld:ai:tokens:total','',0,2,87.0,1,1750000011000);
INSERT INTO "metrics" VALUES(12,'$ld:ai:tokens:ttf','',0,2,114.0,1,1750000011000);
INSERT INTO "metrics" VALUES(12,'$ld:ai:tool_call','search',0,2,1.0,1,1750000011000);
INSERT INTO "metrics" VALUES(13,'$ld:ai:duration:total','',0,1,1794.0,1,1750000012000);
INSERT INTO "metrics" VALUES(13,'$ld:ai:feedback:user:negative','',0,1,1.0,1,1750000012000);
INSERT INTO "metrics" VALUES(13,'$ld:ai:tokens:total','',0,1,92.0,1,1750000012000);
INSERT INTO "metrics" VALUES(13,'$ld:ai:tokens:ttf','',0,1,62.0,1,1750000012000);
INSERT INTO "metrics" VALUES(13,'$ld:ai:tool_call','search',0,1,1.0,1,1750000012000);
INSERT INTO "metrics" VALUES(14,'$ld:ai:duration:total','',0,1,2467.0,1,1750000013000);
INSERT INTO "metrics" VALUES(14,'$ld:ai:feedback:user:positive','',0,1,1.0,1,1750000013000);
INSERT INTO "metrics" VALUES(14,'$ld:ai:generation:success','',0,1,1.0,1,1750000013000);
INSERT INTO "metrics" VALUES(14,'$ld:ai:judge:accuracy','accuracy',1,1,8.12609000441615547671e-01,1,1750000013000);
INSERT INTO "metrics" VALUES(14,'$ld:ai:tokens:total','',0,1,287.0,1,1750000013000);
INSERT INTO "metrics" VALUES(14,'$ld:ai:tokens:ttf','',0,1,69.0,1,1750000013000);
INSERT INTO "metrics" VALUES(14,'$ld:ai:tool_call','search',0,1,1.0,1,1750000013000);
INSERT INTO "metrics" VALUES(15,'$ld:ai:duration:total','',0,2,1709.0,1,1750000014000);
INSERT INTO "metrics" VALUES(15,'$ld:ai:generation:success','',0,2,1.0,1,1750000014000);
INSERT INTO "metrics" VALUES(15,'$ld:ai:tokens:total','',0,2,381.0,1,1750000014000);
INSERT INTO "metrics" VALUES(15,'$ld:ai:tokens:ttf','',0,2,62.0,1,1750000014000);
CREATE TABLE payloads (id TEXT PRIMARY KEY);
INSERT INTO "payloads" VALUES('one');
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL,
    variation INTEGER NOT NULL REFERENCES variations (id),
    version INTEGER NOT NULL,
    graph TEXT NOT NULL,
    model TEXT NOT NULL,
    context TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    outcome TEXT,
    feedback INTEGER,
    duration,
    first_token,
    tokens,
    tokens_in,
    tokens_out,
    tool_calls,
    UNIQUE (run_id, variation)
);
INSERT INTO "runs" VALUES(1,'run-0',1,2,'','','user-1',1750000000000,1750000000000,'success',NULL,1742,295,197,NULL,NULL,2);
INSERT INTO "runs" VALUES(2,'run-1',1,2,'','','user-1',1750000001000,1750000001000,'error',-1,951,284,23,NULL,NULL,1);
INSERT INTO "runs" VALUES(3,'run-2',1,2,'','','user-1',1750000002000,1750000002000,'success',-1,1063,191,41,NULL,NULL,2);
INSERT INTO "runs" VALUES(4,'run-3',2,2,'','','user-1',1750000003000,1750000003000,'success',1,1855,188,73,NULL,NULL,1);
INSERT INTO "runs" VALUES(5,'run-4',2,2,'','','user-1',1750000004000,1750000004000,NULL,1,2173,258,269,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(6,'run-5',1,2,'','','user-1',1750000005000,1750000005000,'success',NULL,706,295,254,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(7,'run-6',2,2,'','','user-1',1750000006000,1750000006000,'success',-1,2780,104,137,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(8,'run-7',2,2,'','','user-1',1750000007000,1750000007000,NULL,1,1524,218,167,NULL,NULL,2);
INSERT INTO "runs" VALUES(9,'run-8',1,2,'','','user-1',1750000008000,1750000008000,'success',1,1872,52,35,NULL,NULL,2);
INSERT INTO "runs" VALUES(10,'run-9',2,2,'','','user-1',1750000009000,1750000009000,'error',NULL,1312,129,142,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(11,'run-10',2,2,'','','user-1',1750000010000,1750000010000,NULL,NULL,2150,174,384,NULL,NULL,1);
INSERT INTO "runs" VALUES(12,'run-11',2,2,'','','user-1',1750000011000,1750000011000,'error',-1,1301,114,87,NULL,NULL,1);
INSERT INTO "runs" VALUES(13,'run-12',1,2,'','','user-1',1750000012000,1750000012000,NULL,-1,1794,62,92,NULL,NULL,1);
INSERT INTO "runs" VALUES(14,'run-13',1,2,'','','user-1',1750000013000,1750000013000,'success',1,2467,69,287,NULL,NULL,1);
INSERT INTO "runs" VALUES(15,'run-14',2,2,'','','user-1',1750000014000,1750000014000,'success',NULL,1709,62,381,NULL,NULL,NULL);
CREATE TABLE variations (
    id INTEGER PRIMARY KEY, config TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (config, name)
);
INSERT INTO "variations" VALUES(1,'support-bot','friendly');
INSERT INTO "variations" VALUES(2,'support-bot','brief');
CREATE INDEX runs_in_time ON runs (variation, started, outcome, feedback, duration, tool_calls);
CREATE INDEX durations ON runs (variation, duration, started, outcome);
CREATE INDEX first_tokens ON runs (variation, first_token, started, outcome);
CREATE INDEX token_counts ON runs (variation, tokens, started, outcome);
CREATE INDEX scores ON metrics (variation, detail, name, value, count, scored) WHERE scored;
CREATE TRIGGER count_new AFTER INSERT ON runs BEGIN INSERT INTO counts SELECT new.variation, 'run', 1, coalesce(new.outcome, 'none'), 1 WHERE 1 IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1;INSERT INTO counts SELECT new.variation, 'duration', new.duration, coalesce(new.outcome, 'none'), 1 WHERE new.duration IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1;INSERT INTO counts SELECT new.variation, 'first_token', new.first_token, coalesce(new.outcome, 'none'), 1 WHERE new.first_token IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1;INSERT INTO counts SELECT new.variation, 'tokens', new.tokens, coalesce(new.outcome, 'none'), 1 WHERE new.tokens IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1;INSERT INTO counts SELECT new.variation, 'feedback', new.feedback, coalesce(new.outcome, 'none'), 1 WHERE new.feedback IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1;INSERT INTO counts SELECT new.variation, 'tool_calls', new.tool_calls, coalesce(new.outcome, 'none'), 1 WHERE new.tool_calls IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1; END;
CREATE TRIGGER count_gone AFTER DELETE ON runs BEGIN UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'run' AND value = 1 AND outcome = coalesce(old.outcome, 'none');UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'duration' AND value = old.duration AND outcome = coalesce(old.outcome, 'none');UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'first_token' AND value = old.first_token AND outcome = coalesce(old.outcome, 'none');UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'tokens' AND value = old.tokens AND outcome = coalesce(old.outcome, 'none');UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'feedback' AND value = old.feedback AND outcome = coalesce(old.outcome, 'none');UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'tool_calls' AND value = old.tool_calls AND outcome = coalesce(old.outcome, 'none'); END;
CREATE TRIGGER count_changed AFTER UPDATE ON runs WHEN old.outcome IS NOT new.outcome OR old.duration IS NOT new.duration OR old.first_token IS NOT new.first_token OR old.tokens IS NOT new.tokens OR old.feedback IS NOT new.feedback OR old.tool_calls IS NOT new.tool_calls
BEGIN UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'run' AND value = 1 AND outcome = coalesce(old.outcome, 'none');UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'duration' AND value = old.duration AND outcome = coalesce(old.outcome, 'none');UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'first_token' AND value = old.first_token AND outcome = coalesce(old.outcome, 'none');UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'tokens' AND value = old.tokens AND outcome = coalesce(old.outcome, 'none');UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'feedback' AND value = old.feedback AND outcome = coalesce(old.outcome, 'none');UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = 'tool_calls' AND value = old.tool_calls AND outcome = coalesce(old.outcome, 'none'); INSERT INTO counts SELECT new.variation, 'run', 1, coalesce(new.outcome, 'none'), 1 WHERE 1 IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1;INSERT INTO counts SELECT new.variation, 'duration', new.duration, coalesce(new.outcome, 'none'), 1 WHERE new.duration IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1;INSERT INTO counts SELECT new.variation, 'first_token', new.first_token, coalesce(new.outcome, 'none'), 1 WHERE new.first_token IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1;INSERT INTO counts SELECT new.variation, 'tokens', new.tokens, coalesce(new.outcome, 'none'), 1 WHERE new.tokens IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1;INSERT INTO counts SELECT new.variation, 'feedback', new.feedback, coalesce(new.outcome, 'none'), 1 WHERE new.feedback IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1;INSERT INTO counts SELECT new.variation, 'tool_calls', new.tool_calls, coalesce(new.outcome, 'none'), 1 WHERE new.tool_calls IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1; END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('runs',15);
COMMIT;
PRAGMA user_version = 17002;
