-- A ledger as the first house left it: written by tollgate 0.1.0, tables of version 3.
BEGIN TRANSACTION;
CREATE TABLE account (
    id TEXT PRIMARY KEY,
    parent TEXT,
    open INTEGER NOT NULL CHECK (open IN (0, 1)),
    reserved INTEGER NOT NULL CHECK (reserved >= 0),
    spent INTEGER NOT NULL CHECK (spent >= 0),
    expires INTEGER,
    kind TEXT NOT NULL CHECK (kind IN ('funded', 'ceiling')),
    issued INTEGER CHECK (issued >= 0),
    declared INTEGER CHECK (declared >= 0),
    net INTEGER,
    available INTEGER,
    unlimited INTEGER CHECK (unlimited IN (0, 1)),
    cap INTEGER CHECK (cap >= 0),
    period TEXT,
    window INTEGER,
    used INTEGER CHECK (used >= 0),
    carved INTEGER CHECK (carved >= 0),
    granted INTEGER CHECK (granted >= 0),
    source TEXT,
    CHECK (kind = 'ceiling' OR (issued IS NOT NULL AND declared IS NOT NULL AND net IS NOT NULL
        AND available IS NOT NULL AND unlimited IS NOT NULL)),
    CHECK (kind = 'funded' OR (parent IS NOT NULL AND cap IS NOT NULL AND window IS NOT NULL
        AND used IS NOT NULL AND carved IS NOT NULL AND granted IS NOT NULL)),
    CHECK (kind = 'ceiling' OR available + reserved + spent = issued + net),
    CHECK (kind = 'ceiling' OR open OR available <= 0)
) STRICT, WITHOUT ROWID;
INSERT INTO "account" VALUES('main/agent/a','main/root',1,1,11,NULL,'ceiling',NULL,NULL,NULL,NULL,NULL,500,NULL,0,12,63,0,NULL);
INSERT INTO "account" VALUES('main/agent/poor','main/root',1,0,0,NULL,'ceiling',NULL,NULL,NULL,NULL,NULL,1,NULL,0,0,0,0,NULL);
INSERT INTO "account" VALUES('main/root',NULL,1,1,11,NULL,'funded',1100,1000,-63,1025,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "account" VALUES('main/token/01a20028886576f9b529509321db8120','main/agent/a',0,0,3,1795385386085,'funded',0,0,3,0,0,NULL,NULL,NULL,NULL,NULL,NULL,'{"path":[{"account":"main/agent/a","window":0},{"account":"main/root","window":0}],"given":40,"owed":3}');
INSERT INTO "account" VALUES('main/token/2050fb62af6cff1b92e458742061bd5c','main/agent/a',1,0,0,NULL,'funded',0,0,60,60,0,NULL,NULL,NULL,NULL,NULL,NULL,'{"path":[{"account":"main/agent/a","window":0},{"account":"main/root","window":0}],"given":60,"owed":60}');
CREATE TABLE api_key (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    about TEXT NOT NULL
, mac BLOB CHECK (length(mac) = 32)) STRICT, WITHOUT ROWID;
INSERT INTO "api_key" VALUES('78fe36b9',X'9BAF8325106B9D85D567FF90BEC1A08AF0090F3ADE4AF2AB084EBED6BB6DC53F','{"id":"78fe36b9","name":"ci","digest":[155,175,131,37,16,107,157,133,213,103,255,144,190,193,160,138,240,9,15,58,222,74,242,171,8,78,190,214,187,109,197,63],"agents":["a"],"roles":[],"created":1795298986484,"expires":null,"revoked":false}',X'CF2128DCB98293A6858B56D6C6036E133DFCFD7F4B874A30E8E06FB7D60003DA');
INSERT INTO "api_key" VALUES('85b80db4',X'830F6EFE31ABC200847D7C022ECAFC59643A02745C930D61AF6DB994BDB055AF','{"id":"85b80db4","name":"old","digest":[131,15,110,254,49,171,194,0,132,125,124,2,46,202,252,89,100,58,2,116,92,147,13,97,175,109,185,148,189,176,85,175],"agents":["a"],"roles":[],"created":1795298986565,"expires":null,"revoked":true}',X'B19866C3DB82F91220B98818B575EE65F3DC49ACA30CC54F27FDA813600519FF');
CREATE TABLE delegation (
    token BLOB PRIMARY KEY CHECK (length(token) = 16),
    account TEXT NOT NULL UNIQUE,
    handle BLOB UNIQUE CHECK (length(handle) = 32),
    principal BLOB CHECK (length(principal) = 32),
    made_with TEXT,
    caveats TEXT NOT NULL,
    label TEXT
, mac BLOB CHECK (length(mac) = 32)) STRICT, WITHOUT ROWID;
INSERT INTO "delegation" VALUES(X'01A20028886576F9B529509321DB8120','main/token/01a20028886576f9b529509321db8120',X'2B537F26851326816F109C7D53BEBAF057B5489897A0C1234FBF108176D4B603',X'39B5B1CF0F08F4B461CE6B5993F3BA402DA9DDEA26EB617350F230EE59F75EAE',NULL,'[{"agent":"a"},{"expires":1795385386085}]','closed by hand',X'4B3A2B52D7BFDD7AB1DEEEFD74E983C14CDF62E0A6C7C3D44762CACAA043B1F9');
INSERT INTO "delegation" VALUES(X'2050FB62AF6CFF1B92E458742061BD5C','main/token/2050fb62af6cff1b92e458742061bd5c',NULL,NULL,NULL,'[{"agent":"a"}]','kept',X'609FFCEF3027BA5F5DD69AE9E44B8A8A43B2034C67CD310E2E724C3BD5236C35');
CREATE TABLE denials (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    mac BLOB NOT NULL CHECK (length(mac) = 32)
) STRICT;
INSERT INTO "denials" VALUES(1,X'1EF3490C6E65A3E873FABACF55789ACDEDE9062B84E27D791B1F4DD1B08929A7');
CREATE TABLE denied (
    token BLOB PRIMARY KEY CHECK (length(token) = 16)
, mac BLOB CHECK (length(mac) = 32)) STRICT, WITHOUT ROWID;
INSERT INTO "denied" VALUES(X'94BD3CB92C6786FAFE16AF73AEBD4F97',X'B27C95A2EE4FCC9E1D5545BA19B7D6423584FC87229D24B84AFC3DDE1DF8CF98');
INSERT INTO "denied" VALUES(X'D600B4C1D5901F52D4C8CC223AD021FC',X'39CF3F9869FF41C8D78D7EC0B516712D2C0E525631A25755E5401885BF1D7C97');
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    chain TEXT NOT NULL,
    seq INTEGER NOT NULL CHECK (seq >= 0),
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    mac BLOB NOT NULL CHECK (length(mac) = 32)
) STRICT;
INSERT INTO "head" VALUES(1,'2a05ffc003cef205dd297060cec64091',25,X'78E00348F105DF3D5604DB5EFDD703AF8035449F2817E2403FC5649383773E89',X'2E7095FEA13C99190F269BBB702EDCD4816040AFB0506C16983F04EA9ACB04B8');
CREATE TABLE hold (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    amount INTEGER NOT NULL CHECK (amount >= 0),
    state INTEGER NOT NULL CHECK (state IN (0, 1, 2)),
    posted INTEGER NOT NULL CHECK (posted BETWEEN 0 AND amount),
    uncertain INTEGER NOT NULL CHECK (uncertain IN (0, 1)),
    refunded INTEGER NOT NULL CHECK (refunded BETWEEN 0 AND posted),
    forced INTEGER NOT NULL CHECK (forced IN (0, 1)),
    charge_if_lost INTEGER NOT NULL CHECK (charge_if_lost IN (0, 1)),
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    deadline INTEGER NOT NULL,
    path TEXT NOT NULL,
    agent TEXT NOT NULL,
    server TEXT NOT NULL,
    tool TEXT NOT NULL,
    CHECK (state = 1 OR (posted = 0 AND uncertain = 0))
) STRICT, WITHOUT ROWID;
INSERT INTO "hold" VALUES(X'01A2002886A3729DB584C735CF34F9CC',3,1,3,0,0,0,1,X'44705D84658B7ADFACD91C7ADC7FB43FBB5F41CC7161B5698F17219A6726CB6E',1795299045635,'[{"account":"main/agent/a","window":0},{"account":"main/root","window":0}]','a','s','echo');
INSERT INTO "hold" VALUES(X'01A2002886AE7118A0F86A1642C6872D',5,1,5,0,0,0,1,X'44705D84658B7ADFACD91C7ADC7FB43FBB5F41CC7161B5698F17219A6726CB6E',1795299045646,'[{"account":"main/agent/a","window":0},{"account":"main/root","window":0}]','a','s','get_issue');
INSERT INTO "hold" VALUES(X'01A2002886BA72F09F14E9878847AE8C',1,1,1,1,1,0,1,X'44705D84658B7ADFACD91C7ADC7FB43FBB5F41CC7161B5698F17219A6726CB6E',1795299045659,'[{"account":"main/agent/a","window":0},{"account":"main/root","window":0}]','a','s','die');
INSERT INTO "hold" VALUES(X'01A2002888517454B3F3B6384975D4CF',3,1,3,0,0,0,1,X'44705D84658B7ADFACD91C7ADC7FB43FBB5F41CC7161B5698F17219A6726CB6E',1795299046065,'[{"account":"main/agent/a","window":0},{"account":"main/root","window":0}]','a','s','echo');
INSERT INTO "hold" VALUES(X'01A2002888A970ACBBCB4017623C79E9',3,1,3,0,0,0,1,X'44705D84658B7ADFACD91C7ADC7FB43FBB5F41CC7161B5698F17219A6726CB6E',1795299046153,'[{"account":"main/token/01a20028886576f9b529509321db8120","window":0}]','a','s','echo');
INSERT INTO "hold" VALUES(X'01A200288DBC7561B16FBC829984E9D9',1,0,0,0,0,0,1,X'44705D84658B7ADFACD91C7ADC7FB43FBB5F41CC7161B5698F17219A6726CB6E',1795299047452,'[{"account":"main/agent/a","window":0},{"account":"main/root","window":0}]','a','s','hang');
CREATE TABLE record (
    seq INTEGER PRIMARY KEY CHECK (seq > 0),
    line TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
INSERT INTO "record" VALUES(1,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":1,"at":"2026-11-21T22:09:42.345Z","event":"declare","policy":"e74557fd8854","accounts":[{"id":"main/root","issued":1000,"declared":1000},{"id":"main/agent/a","parent":"main/root","cap":500},{"id":"main/agent/poor","parent":"main/root","cap":1}],"note":"root opened: 1000 credits; agent/a opened: 500 credits; agent/poor opened: 1 credit"}',X'211AFD133DBAD012EC8B7E465EBE4585D809454BB0E09D517A560F907455B5E5');
INSERT INTO "record" VALUES(2,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":2,"at":"2026-11-21T22:09:45.635Z","event":"discovery","agent":"a","assurance":"asserted","server":"s","tool":"get_server_tools","policy":"e74557fd8854","found":4,"tokens":105}',X'576AC1B379A844330EFF9796EC64D6F190B97DC690277DAE2C1E4331CDF51283');
INSERT INTO "record" VALUES(3,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":3,"at":"2026-11-21T22:09:45.635Z","event":"hold","agent":"a","assurance":"asserted","server":"s","tool":"echo","decision":"allowed","rule":"agents.a.allow.servers[0]","policy":"e74557fd8854","hold":"01a2002886a3729db584c735cf34f9cc","account":"main/agent/a","cost":3,"remaining":497,"args_bytes":2,"args_mac":"44705d84658b7adfacd91c7adc7fb43f"}',X'C1C8B86C5D49526178D05DD27C9D77E07077B93B1E85B9AC3611244928AC9215');
INSERT INTO "record" VALUES(4,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":4,"at":"2026-11-21T22:09:45.646Z","event":"post","agent":"a","assurance":"asserted","server":"s","tool":"echo","policy":"e74557fd8854","hold":"01a2002886a3729db584c735cf34f9cc","account":"main/agent/a","cost":3,"status":"success","latency_us":10045,"result_bytes":65,"result_sha256":"a28752c08db45110df9f9af93f9d41d97c15aefbdc74d63d0c19af78acf6e181"}',X'7881AF4D2B566D1FB34DF96F4AA3709E6A4EE488705EEABED87E349DD8F13FCF');
INSERT INTO "record" VALUES(5,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":5,"at":"2026-11-21T22:09:45.646Z","event":"hold","agent":"a","assurance":"asserted","server":"s","tool":"get_issue","decision":"allowed","rule":"agents.a.allow.servers[0]","policy":"e74557fd8854","hold":"01a2002886ae7118a0f86a1642c6872d","account":"main/agent/a","cost":5,"remaining":492,"args_bytes":2,"args_mac":"44705d84658b7adfacd91c7adc7fb43f"}',X'2C8D831D2497047F691A023CE730D5CFDD88FA15D991F3C2441BE7E4624AC982');
INSERT INTO "record" VALUES(6,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":6,"at":"2026-11-21T22:09:45.653Z","event":"post","agent":"a","assurance":"asserted","server":"s","tool":"get_issue","policy":"e74557fd8854","hold":"01a2002886ae7118a0f86a1642c6872d","account":"main/agent/a","cost":5,"status":"success","latency_us":6002,"result_bytes":65,"result_sha256":"a28752c08db45110df9f9af93f9d41d97c15aefbdc74d63d0c19af78acf6e181"}',X'61AA375E68882BB3074E973B9379F8FF581DBF039E1FD3B660A23CC8F25C1427');
INSERT INTO "record" VALUES(7,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":7,"at":"2026-11-21T22:09:45.653Z","event":"refusal","agent":"poor","assurance":"asserted","server":"s","tool":"echo","decision":"refused","code":"insufficient_budget","rule":"agents.poor.allow.servers[0]","policy":"e74557fd8854","account":"main/agent/poor","cost":3,"remaining":1,"args_bytes":2,"args_mac":"44705d84658b7adfacd91c7adc7fb43f"}',X'8953BB048D017692E50808DE89066E8F4E48B50B49302A9ED63AACA679CDDA9A');
INSERT INTO "record" VALUES(8,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":8,"at":"2026-11-21T22:09:45.657Z","event":"refusal","agent":"denied","assurance":"asserted","server":"s","tool":"echo","decision":"refused","code":"DENIED_BY_POLICY","rule":"agents.denied.allow.servers","policy":"e74557fd8854"}',X'BC4B70ADA740AE86672FA303F633F39437649BBEC46E4693B40C7AF3CFFDA628');
INSERT INTO "record" VALUES(9,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":9,"at":"2026-11-21T22:09:45.658Z","event":"refusal","agent":"a","assurance":"asserted","server":"s","tool":"nothing","decision":"refused","code":"TOOL_NOT_FOUND","rule":"agents.a.allow.servers[0]","policy":"e74557fd8854"}',X'8264FB8FCE1A327FC81A1478807291DEE62573FF2A1C6D141DB003528F1BF5D6');
INSERT INTO "record" VALUES(10,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":10,"at":"2026-11-21T22:09:45.659Z","event":"hold","agent":"a","assurance":"asserted","server":"s","tool":"die","decision":"allowed","rule":"agents.a.allow.servers[0]","policy":"e74557fd8854","hold":"01a2002886ba72f09f14e9878847ae8c","account":"main/agent/a","cost":1,"remaining":491,"args_bytes":2,"args_mac":"44705d84658b7adfacd91c7adc7fb43f"}',X'F5D98A1392C3DD2EDCA784FCDF1E15EDB45B3AAE5585A5C2CD4F0A6E326189A6');
INSERT INTO "record" VALUES(11,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":11,"at":"2026-11-21T22:09:45.672Z","event":"post","agent":"a","assurance":"asserted","server":"s","tool":"die","policy":"e74557fd8854","hold":"01a2002886ba72f09f14e9878847ae8c","account":"main/agent/a","cost":1,"uncertain":true,"status":"lost","latency_us":7655}',X'C7EEB5DFBD6227676B0BA713EC4466319D07C81127AF4CD39F6849A6C2B7D968');
INSERT INTO "record" VALUES(12,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":12,"at":"2026-11-21T22:09:46.065Z","event":"hold","agent":"a","assurance":"asserted","server":"s","tool":"echo","decision":"allowed","rule":"agents.a.allow.servers[0]","policy":"e74557fd8854","hold":"01a2002888517454b3f3b6384975d4cf","account":"main/agent/a","cost":3,"remaining":488,"args_bytes":2,"args_mac":"44705d84658b7adfacd91c7adc7fb43f"}',X'9BA81261C58F461E5C40A69AB404F25BCCD4CBD154D7B66534C24547A9DCC9E2');
INSERT INTO "record" VALUES(13,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":13,"at":"2026-11-21T22:09:46.103Z","event":"post","agent":"a","assurance":"asserted","server":"s","tool":"echo","policy":"e74557fd8854","hold":"01a2002888517454b3f3b6384975d4cf","account":"main/agent/a","cost":3,"status":"success","latency_us":18805,"result_bytes":65,"result_sha256":"a28752c08db45110df9f9af93f9d41d97c15aefbdc74d63d0c19af78acf6e181"}',X'707B552FFB9DCFD7B5466394CEED75EB7E54FE95F3AE68AC8211B213C4446017');
INSERT INTO "record" VALUES(14,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":14,"at":"2026-11-21T22:09:46.103Z","event":"delegate","agent":"a","assurance":"asserted","token":"01a20028886576f9b529509321db8120","server":"gateway","tool":"delegate","policy":"e74557fd8854","account":"main/agent/a","cost":40,"remaining":448,"label":"closed by hand","accounts":[{"id":"main/token/01a20028886576f9b529509321db8120","parent":"main/agent/a","issued":0,"declared":0,"expires":1795385386085}],"row":"4b3a2b52d7bfdd7ab1deeefd74e983c14cdf62e0a6c7c3d44762cacaa043b1f9","note":"main/token/01a20028886576f9b529509321db8120"}',X'BCDC73E7C38964F811805FA0A775E752EE12A388662A8C2F05BA3926C00DA015');
INSERT INTO "record" VALUES(15,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":15,"at":"2026-11-21T22:09:46.153Z","event":"hold","agent":"a","assurance":"asserted","token":"01a20028886576f9b529509321db8120","server":"s","tool":"echo","decision":"allowed","rule":"agents.a.allow.servers[0]","policy":"e74557fd8854","hold":"01a2002888a970acbbcb4017623c79e9","account":"main/token/01a20028886576f9b529509321db8120","cost":3,"remaining":37,"args_bytes":2,"args_mac":"44705d84658b7adfacd91c7adc7fb43f"}',X'5D32B8175FF3B290981DD593A3A2255F416284E6FD3793AD5A063DCC972D8AAA');
INSERT INTO "record" VALUES(16,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":16,"at":"2026-11-21T22:09:46.161Z","event":"post","agent":"a","assurance":"asserted","token":"01a20028886576f9b529509321db8120","server":"s","tool":"echo","policy":"e74557fd8854","hold":"01a2002888a970acbbcb4017623c79e9","account":"main/token/01a20028886576f9b529509321db8120","cost":3,"status":"success","latency_us":7715,"result_bytes":65,"result_sha256":"a28752c08db45110df9f9af93f9d41d97c15aefbdc74d63d0c19af78acf6e181"}',X'4FF61F210FF8DABF70AFAA4CE4DF1396352038872179F65B6C6E527CF3DC51AB');
INSERT INTO "record" VALUES(17,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":17,"at":"2026-11-21T22:09:46.162Z","event":"close","agent":"a","assurance":"asserted","token":"01a20028886576f9b529509321db8120","server":"gateway","tool":"revoke","policy":"e74557fd8854","account":"main/token/01a20028886576f9b529509321db8120","cost":37}',X'A3C1DFAA6E7E0E1E4CD6FD0AFC6F2748622AB9CBA7BD0F9FD0823DA6F971C5DA');
INSERT INTO "record" VALUES(18,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":18,"at":"2026-11-21T22:09:46.462Z","event":"delegate","token":"2050fb62af6cff1b92e458742061bd5c","account":"main/agent/a","cost":60,"remaining":425,"label":"kept","accounts":[{"id":"main/token/2050fb62af6cff1b92e458742061bd5c","parent":"main/agent/a","issued":0,"declared":0}],"row":"609ffcef3027ba5f5dd69ae9e44b8a8a43b2034c67cd310e2e724c3bd5236c35","note":"main/token/2050fb62af6cff1b92e458742061bd5c"}',X'74BF4D6B375F290E1AD3C738F142B440C0002B954CAC5806F0317849815B45A5');
INSERT INTO "record" VALUES(19,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":19,"at":"2026-11-21T22:09:46.479Z","event":"revoke","token":"d600b4c1d5901f52d4c8cc223ad021fc","note":"token d600b4c1d5901f52d4c8cc223ad021fc"}',X'3AE3EBB41D3388BDA8140F03D6C195A9A2DDB8D1A1FEB1679436DBE4FC4D7E27');
INSERT INTO "record" VALUES(20,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":20,"at":"2026-11-21T22:09:46.485Z","event":"key","token":"78fe36b9","row":"cf2128dcb98293a6858b56d6c6036e133dfcfd7f4b874a30e8e06fb7d60003da","note":"API key 78fe36b9 (ci) made for a"}',X'3FEB1418DED9F3A4223AE39353F77DCA036E8182563774BC950D6764E18A808C');
INSERT INTO "record" VALUES(21,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":21,"at":"2026-11-21T22:09:46.567Z","event":"key","token":"85b80db4","row":"4752b739f787e29fd6133708e104e426f7f44403b8b26758b375d1651314db27","note":"API key 85b80db4 (old) made for a"}',X'B308709F52054A9B277A3025F2632D3018071BCCAB2653D97860E37721CED87F');
INSERT INTO "record" VALUES(22,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":22,"at":"2026-11-21T22:09:46.673Z","event":"key","token":"85b80db4","row":"b19866c3db82f91220b98818b575ee65f3dc49aca30cc54f27fda813600519ff","note":"API key 85b80db4 revoked"}',X'6A82F9AEACC657FFF1BD80DCD3243073952DFE7DE711C63FBF55CD0CE1C8EC3D');
INSERT INTO "record" VALUES(23,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":23,"at":"2026-11-21T22:09:46.777Z","event":"grant","account":"main/root","cost":100,"remaining":1025}',X'6836D08B4DA9BED0718AC603D42F06A9805848561242EA316C22DB09E0A45577');
INSERT INTO "record" VALUES(24,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":24,"at":"2026-11-21T22:09:46.861Z","event":"refund","agent":"a","server":"s","tool":"die","hold":"01a2002886ba72f09f14e9878847ae8c","account":"main/agent/a","cost":1,"remaining":426}',X'91F14B18305910B239BCBBF9C19726CDCFA3A2AD3666EC8D9E3AD91C3C3FB979');
INSERT INTO "record" VALUES(25,'{"v":1,"chain":"2a05ffc003cef205dd297060cec64091","seq":25,"at":"2026-11-21T22:09:47.452Z","event":"hold","agent":"a","assurance":"asserted","server":"s","tool":"hang","decision":"allowed","rule":"agents.a.allow.servers[0]","policy":"e74557fd8854","hold":"01a200288dbc7561b16fbc829984e9d9","account":"main/agent/a","cost":1,"remaining":425,"args_bytes":2,"args_mac":"44705d84658b7adfacd91c7adc7fb43f"}',X'78E00348F105DF3D5604DB5EFDD703AF8035449F2817E2403FC5649383773E89');
CREATE TABLE shown (
    what BLOB PRIMARY KEY CHECK (length(what) = 32),
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE transfer (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32)
) STRICT, WITHOUT ROWID;
INSERT INTO "transfer" VALUES(X'01A20028886576F9B529509321DB8120',X'2EE3EC7D2EF0609C3668845D67C8D14F81158BDAB39DF409B977BDD3C489D249');
INSERT INTO "transfer" VALUES(X'01A200288B1974AFAF5A21D0FF827B24',X'D9A1ADBE1DD615337E0922E4947B720E120AC3AD8CEB5272C9166E012DA63AE3');
INSERT INTO "transfer" VALUES(X'01A200288B6D713A9BE76FDDE5890890',X'83BEF675FE8C52FD685346835B81BE26EBEF5BD68E4805AB2BD96E6CAF846110');
INSERT INTO "transfer" VALUES(X'2050FB62AF6CFF1B92E458742061BD5C',X'A14B35BD8C9D32732DED4C480468F67013C08C2681EE214650F18196E4967C59');
CREATE INDEX account_below ON account (parent) WHERE parent IS NOT NULL;
CREATE INDEX account_expiring ON account (expires) WHERE open AND expires IS NOT NULL;
CREATE INDEX hold_due ON hold (deadline, id) WHERE state = 0;
CREATE TRIGGER hold_ends_once BEFORE UPDATE OF state ON hold
    WHEN old.state <> 0 AND new.state <> old.state
    BEGIN SELECT RAISE(ABORT, 'a hold ends once'); END;
CREATE TRIGGER record_stays BEFORE UPDATE ON record
    BEGIN SELECT RAISE(ABORT, 'records are not changed'); END;
CREATE TRIGGER record_remains BEFORE DELETE ON record
    BEGIN SELECT RAISE(ABORT, 'records are not deleted'); END;
CREATE INDEX delegation_made_with ON delegation (made_with) WHERE made_with IS NOT NULL;
CREATE TRIGGER delegation_stays BEFORE UPDATE ON delegation
    BEGIN SELECT RAISE(ABORT, 'delegations are not changed'); END;
CREATE TRIGGER delegation_remains BEFORE DELETE ON delegation
    BEGIN SELECT RAISE(ABORT, 'delegations are not deleted'); END;
CREATE INDEX shown_until ON shown (until);
CREATE TRIGGER record_can_be_replayed BEFORE INSERT ON record
    WHEN instr(new.line, '"event":"declare"') AND NOT instr(new.line, '"accounts":[')
        OR instr(new.line, '"event":"cap"') AND NOT instr(new.line, '"accounts":[')
    BEGIN SELECT RAISE(ABORT, 'a later version of tollgate uses this store; start this one again with it'); END;
COMMIT;
PRAGMA application_id = 1414483015;
PRAGMA user_version = 3;
PRAGMA journal_mode = wal;
