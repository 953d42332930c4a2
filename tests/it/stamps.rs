//! Stamps: good for the call that they were made for, once made, for ten minutes. Ten thousand that
//! were forged are no good.

use proptest::{prelude::*, sample::Index, sample::select};
use serde_json::{Map, Value, json};
use tollgate::domain::{
    call::AgentId,
    delegation::{handle, is_handle},
    keyed::Key,
    stamp::{BadStamp, CallDigest, Stamp, is_stamp, verify},
};

use crate::support::properties::drawn;

const NOW: i64 = 1_795_000_000_000;
const MINUTE: i64 = 60_000;

fn key() -> Key {
    Key::new([7; 32])
}

fn arguments(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

fn call() -> CallDigest {
    CallDigest::of("execute_tool", &arguments(json!({"server": "db", "tool": "query"})))
}

fn stamp(agent: &str) -> Stamp {
    Stamp::new(AgentId::from(agent), NOW, [1; 9]).unwrap()
}

fn why(text: &str, call: &CallDigest, now: i64) -> Option<BadStamp> {
    verify(text, &key(), call, now).err()
}

#[test]
fn stamp_says_what_was_stamped() {
    let claimed = handle([9; 16]);
    let text = stamp("reviewer").of_instance("a1b2c3d").claiming(&claimed).sign(&key(), &call());
    assert!(is_stamp(&text) && text.len() <= 512 && text.bytes().all(|b| b.is_ascii_graphic()));
    let stamped = verify(&text, &key(), &call(), NOW).unwrap();
    assert_eq!(stamped.agent().as_str(), "reviewer");
    assert_eq!(stamped.instance(), Some("a1b2c3d"));
    assert_eq!(stamped.claim(), Some(claimed.as_str()));
    assert_eq!(stamped.until(), NOW + 10 * MINUTE);

    let plain = verify(&stamp("reviewer").sign(&key(), &call()), &key(), &call(), NOW).unwrap();
    assert_eq!((plain.instance(), plain.claim()), (None, None));
    assert_ne!(plain.digest(), stamped.digest());
}

#[test]
fn longest_stamp_fits_into_a_call() {
    let longest = stamp(&"a".repeat(128)).of_instance(&"b".repeat(128)).claiming(&handle([0; 16]));
    assert!(longest.sign(&key(), &call()).len() <= 512);
}

#[test]
fn two_stamps_for_the_same_call_at_once_differ() {
    let other = Stamp::new(AgentId::from("a"), NOW, [2; 9]).unwrap();
    let texts = [stamp("a").sign(&key(), &call()), other.sign(&key(), &call())];
    let digests = texts.map(|text| verify(&text, &key(), &call(), NOW).unwrap().digest());
    assert_ne!(digests[0], digests[1]);
}

#[test]
fn only_what_fits_into_a_stamp_gets_into_one() {
    assert_eq!(Stamp::new(AgentId::from("a~b"), NOW, [1; 9]), None);
    assert_eq!(Stamp::new(AgentId::from(""), NOW, [1; 9]), None);
    let odd = stamp("a").of_instance("x~y\n").claiming("sub_~").sign(&key(), &call());
    let stamped = verify(&odd, &key(), &call(), NOW).unwrap();
    assert_eq!(stamped.instance().map(str::len), Some(43));
    assert_eq!(stamped.claim(), None);
}

#[test]
fn stamp_is_good_for_ten_minutes() {
    let text = stamp("a").sign(&key(), &call());
    assert_eq!(why(&text, &call(), NOW + 10 * MINUTE - 1), None);
    assert_eq!(why(&text, &call(), NOW + 10 * MINUTE), Some(BadStamp::Expired));
    assert_eq!(why(&text, &call(), NOW - MINUTE), None);
    assert_eq!(why(&text, &call(), NOW - MINUTE - 1), Some(BadStamp::Early));
    assert_eq!(why(&text, &call(), i64::MIN), Some(BadStamp::Early));
    assert_eq!(why(&text, &call(), i64::MAX), Some(BadStamp::Expired));
}

#[test]
fn calls_are_the_same_whatever_the_order_of_members() {
    let of = |text: &str| CallDigest::of("execute_tool", &serde_json::from_str(text).unwrap());
    let call = of(r#"{"server":"a","arguments":{"x":[1,{"p":1,"q":2.50}],"y":null}}"#);
    for same in [
        r#"{"arguments":{"y":null,"x":[1,{"q":2.50,"p":1}]},"server":"a"}"#,
        r#"{"agent_id":"me","server":"a","arguments":{"x":[1,{"p":1,"q":2.50}],"y":null}}"#,
        r#"{"server":"\u0061","arguments":{"x":[1, {"p":1,"q":2.50}], "y":null}}"#,
    ] {
        assert_eq!(of(same), call, "{same}");
    }
    for other in [
        r#"{"server":"b","arguments":{"x":[1,{"p":1,"q":2.50}],"y":null}}"#,
        r#"{"server":"a","arguments":{"x":[1,{"p":1,"q":2.5}],"y":null}}"#,
        r#"{"server":"a","arguments":{"x":[{"p":1,"q":2.50},1],"y":null}}"#,
        r#"{"server":"a","arguments":{"x":[1,{"p":1,"q":2.50}],"y":false}}"#,
        r#"{"server":"a","arguments":{"x":[1,{"p":1,"q":2.50}]}}"#,
        r#"{"server":"a","arguments":{"x":[1,{"p":"1","q":2.50}],"y":null}}"#,
        r#"{"server":"a","arguments":{"x":[1,{"p":1,"q":2.50,"agent_id":"me"}],"y":null}}"#,
        r#"{"server":"a","arguments":{"x":[1,{"p":1}],"q":2.50,"y":null}}"#,
    ] {
        assert_ne!(of(other), call, "{other}");
    }
    assert_ne!(CallDigest::of("a", &Map::new()), CallDigest::of("b", &Map::new()));
}

#[test]
fn handles_have_their_form() {
    for byte in 0..=255 {
        assert!(is_handle(&handle([byte; 16])));
    }
    let good = handle([3; 16]);
    let short = good.strip_suffix(|_: char| true).unwrap();
    for bad in [
        short,
        &format!("{good}A"),
        &good.replace("sub_", "SUB_"),
        &format!("{short}~"),
        "sub_",
        "",
    ] {
        assert!(!is_handle(bad), "{bad}");
    }
}

#[test]
fn refusals_never_quote_the_stamp() {
    let text = stamp("secretive").sign(&key(), &call());
    let broken = format!("{text}x");
    for error in [why(&broken, &call(), NOW), why(&text, &call(), NOW + 60 * MINUTE)] {
        assert!(!error.unwrap().to_string().contains("secretive"));
    }
}

/// How a forger alters a good stamp, or uses one where it is no good.
#[derive(Clone, Debug)]
enum Forgery {
    FlipBit(Index),
    Replace(Index, char),
    Insert(Index, char),
    CutEnd(Index),
    CutStart(Index),
    DropPart(Index),
    SwapParts(Index, Index),
    /// A part of another good stamp.
    SplicePart(Index),
    /// The beginning of one good stamp and the end of another.
    SpliceAt(Index),
    OtherAgent(String),
    OtherKey,
    OtherPurpose,
    OtherTool,
    OtherArguments,
    Old(i64),
    Future(i64),
    Random(String),
}

fn forgeries() -> impl Strategy<Value = Forgery> {
    use Forgery::*;
    let character = || select(vec!['~', 'a', 'A', '0', '-', '_', '=', '+', ' ', '\0', 'é']);
    let at = any::<Index>;
    prop_oneof![
        8 => at().prop_map(FlipBit),
        4 => (at(), character()).prop_map(|(at, c)| Replace(at, c)),
        2 => (at(), character()).prop_map(|(at, c)| Insert(at, c)),
        1 => at().prop_map(CutEnd),
        1 => at().prop_map(CutStart),
        1 => at().prop_map(DropPart),
        1 => (at(), at()).prop_map(|(a, b)| SwapParts(a, b)),
        2 => at().prop_map(SplicePart),
        2 => at().prop_map(SpliceAt),
        2 => "[a-z]{1,12}".prop_map(OtherAgent),
        1 => Just(OtherKey),
        1 => Just(OtherPurpose),
        1 => Just(OtherTool),
        1 => Just(OtherArguments),
        1 => (0_i64..1 << 40).prop_map(|more| Old(10 * MINUTE + more)),
        1 => (0_i64..1 << 40).prop_map(|more| Future(MINUTE + 1 + more)),
        1 => "[ -~]{0,80}".prop_map(Random),
        1 => "[a-z]{1,5}~[a-z]{0,3}~~[0-9]{13}~[A-Za-z0-9]{12}~[A-Za-z0-9]{21}[AQgw]".prop_map(Random),
    ]
}

/// The forged stamp. `other` is another good one, for another agent at the same time.
fn forge(good: &str, other: &str, forgery: &Forgery) -> String {
    let mut characters: Vec<char> = good.chars().collect();
    let mut parts: Vec<&str> = good.split('~').collect();
    match forgery {
        Forgery::FlipBit(at) => {
            let at = at.index(good.len() * 8);
            let mut bytes = good.as_bytes().to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Forgery::Replace(at, with) => {
            let at = at.index(characters.len());
            characters[at] = *with;
        }
        Forgery::Insert(at, what) => characters.insert(at.index(characters.len() + 1), *what),
        Forgery::CutEnd(at) => characters.truncate(at.index(characters.len())),
        Forgery::CutStart(at) => drop(characters.drain(..=at.index(characters.len()))),
        Forgery::DropPart(at) => {
            parts.remove(at.index(parts.len()));
            return parts.join("~");
        }
        Forgery::SwapParts(a, b) => {
            let (a, b) = (a.index(parts.len()), b.index(parts.len()));
            parts.swap(a, b);
            return parts.join("~");
        }
        Forgery::SplicePart(at) => {
            let at = at.index(parts.len());
            parts[at] = other.split('~').nth(at).unwrap();
            return parts.join("~");
        }
        Forgery::SpliceAt(at) => {
            let at = at.index(good.len().min(other.len()));
            return good.chars().take(at).chain(other.chars().skip(at)).collect();
        }
        Forgery::OtherAgent(agent) => {
            parts[0] = agent;
            return parts.join("~");
        }
        Forgery::Random(text) => return text.clone(),
        _ => {}
    }
    characters.into_iter().collect()
}

proptest! {
    #![proptest_config(drawn(10_000))]

    #[test]
    fn no_forged_stamp_is_accepted(
        agent in "[a-zA-Z0-9_.:-]{1,20}",
        instance in proptest::option::of("[a-z0-9]{1,9}"),
        random in any::<[u8; 16]>(),
        claims in any::<bool>(),
        nonces in any::<[[u8; 9]; 2]>(),
        forgery in forgeries(),
    ) {
        let mut stamp = Stamp::new(AgentId::from(agent.as_str()), NOW, nonces[0]).unwrap();
        if let Some(instance) = &instance {
            stamp = stamp.of_instance(instance);
        }
        if claims {
            stamp = stamp.claiming(&handle(random));
        }
        let asked = arguments(json!({"server": "db", "tool": "query", "arguments": {"n": 1}}));
        let call = CallDigest::of("execute_tool", &asked);
        let good = stamp.sign(&key(), &call);
        let other = Stamp::new(AgentId::from("other"), NOW, nonces[1]).unwrap().sign(&key(), &call);
        prop_assert!(verify(&good, &key(), &call, NOW).is_ok());

        let used = match forgery {
            Forgery::OtherKey => verify(&good, &Key::new([8; 32]), &call, NOW),
            Forgery::OtherPurpose => verify(&good, &key().derive("stamps"), &call, NOW),
            Forgery::OtherTool => {
                verify(&good, &key(), &CallDigest::of("get_server_tools", &asked), NOW)
            }
            Forgery::OtherArguments => {
                let other = arguments(json!({"server": "db", "tool": "query", "arguments": {"n": 2}}));
                verify(&good, &key(), &CallDigest::of("execute_tool", &other), NOW)
            }
            Forgery::Old(by) => verify(&good, &key(), &call, NOW + by),
            Forgery::Future(by) => verify(&good, &key(), &call, NOW - by),
            ref forgery => {
                let forged = forge(&good, &other, forgery);
                // Some change nothing, such as swapping a part with itself.
                prop_assume!(forged != good && forged != other);
                verify(&forged, &key(), &call, NOW)
            }
        };
        prop_assert!(used.is_err(), "{forgery:?}");
    }
}
