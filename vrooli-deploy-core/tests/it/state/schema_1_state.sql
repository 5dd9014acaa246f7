-- A state that schema version 1 wrote: `filled` of the state tests, as SQLite dumps it.
PRAGMA application_id = 1987200083;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE meta (
    id       TEXT    NOT NULL,
    guard    INTEGER NOT NULL,
    schema   INTEGER NOT NULL,
    settings INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES('63daf4bb-eb34-465f-857a-12b1e166637a',818068575,1,657983020);
CREATE TABLE stacks (
    stack    TEXT    NOT NULL PRIMARY KEY,
    seq      INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO stacks VALUES('shop/default',16,2255443518);
CREATE TABLE journal (
    stack    TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    fence    INTEGER NOT NULL,
    at       TEXT    NOT NULL,
    entry    TEXT    NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (stack, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO journal VALUES('shop/default',1,1,'2026-11-21T08:10:25.107969958Z','{"entry":"plan_opened","run":"00000000-0000-0000-0000-000000000002","plan":{"stack":{"app":"shop","environment":"default"},"provider":"local","incarnation":"00000000-0000-0000-0000-000000000001","command":"deploy","steps":[{"id":"create:thing/0","stage":"expand","action":{"do":"create","key":"thing/0","kind":"test.thing","spec":{"size":1.5,"name":"ü \"quoted\""},"generation":1},"undo":{"undo":"delete"},"after":[],"reason":"it is wanted"},{"id":"create:thing/1","stage":"expand","action":{"do":"create","key":"thing/1","kind":"test.thing","spec":{"size":1.5,"name":"ü \"quoted\""},"generation":1},"undo":{"undo":"delete"},"after":[],"reason":"it is wanted"},{"id":"create:thing/2","stage":"expand","action":{"do":"create","key":"thing/2","kind":"test.thing","spec":{"size":1.5,"name":"ü \"quoted\""},"generation":1},"undo":{"undo":"delete"},"after":[],"reason":"it is wanted"}],"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}}',3436640610);
INSERT INTO journal VALUES('shop/default',2,1,'2026-11-21T08:10:25.108366467Z','{"entry":"started","step":"create:thing/0","spec":{"size":1.5}}',1672861834);
INSERT INTO journal VALUES('shop/default',3,1,'2026-11-21T08:10:25.108429556Z','{"entry":"succeeded","step":"create:thing/0","output":{"gave":"resource","id":"id-0","observed":{"size":1.5},"outputs":{}}}',768022658);
INSERT INTO journal VALUES('shop/default',4,1,'2026-11-21T08:10:25.108495144Z','{"entry":"started","step":"create:thing/1","spec":{"size":1.5}}',376598484);
INSERT INTO journal VALUES('shop/default',5,1,'2026-11-21T08:10:25.108527241Z','{"entry":"succeeded","step":"create:thing/1","output":{"gave":"resource","id":"id-1","observed":{"size":1.5},"outputs":{}}}',4148908890);
INSERT INTO journal VALUES('shop/default',6,1,'2026-11-21T08:10:25.108565162Z','{"entry":"started","step":"create:thing/2","spec":{"size":1.5}}',1849841122);
INSERT INTO journal VALUES('shop/default',7,1,'2026-11-21T08:10:25.108589586Z','{"entry":"succeeded","step":"create:thing/2","output":{"gave":"resource","id":"id-2","observed":{"size":1.5},"outputs":{}}}',2587025869);
INSERT INTO journal VALUES('shop/default',8,1,'2026-11-21T08:10:25.108619489Z','{"entry":"plan_closed","outcome":{"kind":"applied"}}',3559226053);
INSERT INTO journal VALUES('shop/default',9,1,'2026-11-21T08:10:25.109689107Z','{"entry":"plan_opened","run":"00000000-0000-0000-0000-000000000002","plan":{"stack":{"app":"shop","environment":"default"},"provider":"local","incarnation":"00000000-0000-0000-0000-000000000001","command":"deploy","steps":[{"id":"create:thing/0","stage":"expand","action":{"do":"create","key":"thing/0","kind":"test.thing","spec":{"size":1.5,"name":"ü \"quoted\""},"generation":1},"undo":{"undo":"delete"},"after":[],"reason":"it is wanted"},{"id":"create:thing/1","stage":"expand","action":{"do":"create","key":"thing/1","kind":"test.thing","spec":{"size":1.5,"name":"ü \"quoted\""},"generation":1},"undo":{"undo":"delete"},"after":[],"reason":"it is wanted"}],"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}}',1412738474);
INSERT INTO journal VALUES('shop/default',10,1,'2026-11-21T08:10:25.109879891Z','{"entry":"started","step":"create:thing/0","spec":{"size":1.5}}',3052497309);
INSERT INTO journal VALUES('shop/default',11,1,'2026-11-21T08:10:25.109919833Z','{"entry":"succeeded","step":"create:thing/0","output":{"gave":"resource","id":"id-0","observed":{"size":1.5},"outputs":{}}}',1714124535);
INSERT INTO journal VALUES('shop/default',12,1,'2026-11-21T08:10:25.110035491Z','{"entry":"started","step":"create:thing/1","spec":{"size":1.5}}',2107441744);
INSERT INTO journal VALUES('shop/default',13,1,'2026-11-21T08:10:25.110065826Z','{"entry":"succeeded","step":"create:thing/1","output":{"gave":"resource","id":"id-1","observed":{"size":1.5},"outputs":{}}}',2565739405);
INSERT INTO journal VALUES('shop/default',14,1,'2026-11-21T08:10:25.110103731Z','{"entry":"plan_closed","outcome":{"kind":"applied"}}',1173288804);
INSERT INTO journal VALUES('shop/default',15,1,'2026-11-21T08:10:25.110953231Z','{"entry":"plan_opened","run":"00000000-0000-0000-0000-000000000002","plan":{"stack":{"app":"shop","environment":"default"},"provider":"local","incarnation":"00000000-0000-0000-0000-000000000001","command":"deploy","steps":[{"id":"create:thing/0","stage":"expand","action":{"do":"create","key":"thing/0","kind":"test.thing","spec":{"size":1.5,"name":"ü \"quoted\""},"generation":1},"undo":{"undo":"delete"},"after":[],"reason":"it is wanted"},{"id":"create:thing/1","stage":"expand","action":{"do":"create","key":"thing/1","kind":"test.thing","spec":{"size":1.5,"name":"ü \"quoted\""},"generation":1},"undo":{"undo":"delete"},"after":[],"reason":"it is wanted"}],"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}}',3392746076);
INSERT INTO journal VALUES('shop/default',16,1,'2026-11-21T08:10:25.111234106Z','{"entry":"started","step":"create:thing/0","spec":{"size":1.5}}',2255443518);
CREATE TABLE leases (
    stack     TEXT    NOT NULL PRIMARY KEY,
    fence     INTEGER NOT NULL,
    holder    TEXT,
    since     TEXT    NOT NULL,
    heartbeat TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO leases VALUES('shop/default',1,NULL,'2026-11-21T08:10:25.106279398Z','2026-11-21T08:10:25.106279398Z');
CREATE TABLE settings (
    stack    TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    value    TEXT    NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (stack, name)
) STRICT, WITHOUT ROWID;
INSERT INTO settings VALUES('shop/default','source','{"root":"/somewhere"}',657983020);
CREATE TABLE snapshots (
    stack    TEXT    NOT NULL PRIMARY KEY,
    seq      INTEGER NOT NULL,
    head     INTEGER NOT NULL,
    fold     INTEGER NOT NULL,
    state    TEXT    NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
INSERT INTO snapshots VALUES('shop/default',14,1173288804,1,'{"seq":14,"incarnation":"00000000-0000-0000-0000-000000000001","resources":{"thing/0":{"kind":"test.thing","id":"id-0","generation":1,"spec":{"size":1.5,"name":"ü \"quoted\""},"observed":{"size":1.5},"outputs":{}},"thing/1":{"kind":"test.thing","id":"id-1","generation":1,"spec":{"size":1.5,"name":"ü \"quoted\""},"observed":{"size":1.5},"outputs":{}},"thing/2":{"kind":"test.thing","id":"id-2","generation":1,"spec":{"size":1.5,"name":"ü \"quoted\""},"observed":{"size":1.5},"outputs":{}}},"generations":{"thing/0":1,"thing/1":1,"thing/2":1},"releases":{},"current":null,"last_release":0,"open":null,"last_outcome":{"kind":"applied"}}',29980954);
CREATE TABLE tombstones (
    stack        TEXT    NOT NULL PRIMARY KEY,
    seq          INTEGER NOT NULL,
    head         INTEGER NOT NULL,
    last_release INTEGER NOT NULL,
    fence        INTEGER NOT NULL,
    checksum     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
COMMIT;
PRAGMA journal_mode = WAL;
