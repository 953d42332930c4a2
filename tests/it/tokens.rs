//! Tokens: their form, what is refused of them, and what cannot be had from them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use tollgate::domain::{
    caveat::{Caveat, TwoTenants},
    keyed::Key,
    scope::Scope,
    token::{
        MOST_BYTES, MOST_CAVEATS, Token, TokenId, TokenKeys, Unfit, UnreadableToken, Unverified,
    },
};

use crate::support::tokens::{credits, keys};

const NOW: i64 = 1_790_000_000_000;
const ID: TokenId = TokenId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

/// Made by a program of a few lines in another language, which shares nothing with ours.
const BARE: &str =
    "gwt1.52E2DWcXQVYAASNFZ4mrze8BI0VniavN7wJiMV6Ni3_leSfHkO_u20reZnD6IFG5ftXelbRUXHtMY4fE";
const FULL: &str = "gwt1.52E2DWcXQVYBASNFZ4mrze8BI0VniavN7wJiMQEACAAAAaMYXFAAAgAIZGIsYXBpXyoDAA5nZXRfKixkYi9xdWVyeQQABSpfYWxsBQAKcmVzZWFyY2hlcgYACAAAAAAAAAAyBwABAwgACAAAAAAAAADICQAIAAAAAAAAA-gKAARhY21lJmYZ5-xNpZmEUbrLYa96L3BNCl6V-tph4nkKVN77DI4";
const OF_TEXT: &str =
    "gwt1.mlkx-Z2ZTiEAAAAAAAAAAAAAAAAAAAAABwJiMQcAAQA5FeVLIxM1hFidfmjrCC0QEaW8QKVLzq7reJTI2-MJAQ";

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

fn one_of_each() -> Vec<Caveat> {
    vec![
        Caveat::Expires(1_800_000_000_000),
        Caveat::Servers(scope("db,api_*")),
        Caveat::Tools(scope("get_*,db/query")),
        Caveat::Except(scope("*_all")),
        Caveat::Agent("researcher".into()),
        Caveat::MostCost(credits(50)),
        Caveat::Depth(3),
        Caveat::MostDelegated(credits(200)),
        Caveat::Ceiling(credits(1000)),
        Caveat::Tenant("acme".into()),
    ]
}

fn mint(caveats: &[Caveat]) -> Token {
    Token::mint(&keys(), true, ID, "b1", caveats).unwrap()
}

fn text(token: &Token) -> String {
    token.text().expose_secret().to_owned()
}

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text.strip_prefix("gwt1.").unwrap()).unwrap()
}

fn of_bytes(bytes: &[u8]) -> String {
    format!("gwt1.{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// One caveat as it is signed.
fn signed(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind], (bytes.len() as u16).to_be_bytes().as_slice(), bytes].concat()
}

/// A token that anyone could make of another: with these bytes as one caveat more.
fn appended(token: &str, caveat: &[u8]) -> String {
    let whole = bytes(token);
    let (body, tag) = whole.split_last_chunk::<32>().unwrap();
    of_bytes(&[body, caveat, &Key::new(*tag).mac(caveat)].concat())
}

#[track_caller]
fn refused(text: &str) -> Unverified {
    let refused = keys().verify(text, "b1", NOW).expect_err("it is taken");
    let told = refused.to_string();
    // Whatever is wrong with it, it may be somebody's.
    let end = text.get(text.len().saturating_sub(16)..).filter(|end| end.len() == 16);
    assert!(!end.is_some_and(|end| told.contains(end)), "{told}");
    refused
}

#[test]
fn the_form_of_tokens_is_fixed() {
    let bare = Token::mint(&keys(), false, ID, "b1", &[]).unwrap();
    assert_eq!(text(&bare), BARE);
    assert_eq!(text(&mint(&one_of_each())), FULL);
    let of_text = TokenKeys::of_texts(&["a text that is a root key".into()]);
    let token = Token::mint(&of_text, false, TokenId(7), "b1", &[Caveat::Depth(0)]).unwrap();
    assert_eq!(text(&token), OF_TEXT);

    let verified = keys().verify(FULL, "b1", NOW).unwrap();
    assert_eq!((verified.id(), verified.has_account()), (ID, true));
    assert_eq!(verified.caveats().0, one_of_each());
    assert!(matches!(verified.ceilings(), [(_, most)] if *most == credits(1000)));
    for scheme in ["Bearer ", "bearer ", "BEARER   ", "  ", "\tbearer "] {
        assert!(keys().verify(&format!("{scheme}{FULL}\n"), "b1", NOW).is_ok(), "{scheme:?}");
    }
}

#[test]
fn keys_rotate_the_first_signs_and_all_verify() {
    let texts: Vec<SecretString> = vec!["the newer root key".into(), "the older root key".into()];
    let ring = |texts: &[SecretString]| TokenKeys::of_texts(texts);
    let old = Token::mint(&ring(&texts[1..]), false, ID, "b1", &[]).unwrap();
    let new = Token::mint(&ring(&texts), false, ID, "b1", &[]).unwrap();
    assert!(ring(&texts).verify(&text(&old), "b1", NOW).is_ok());
    assert!(ring(&texts).verify(&text(&new), "b1", NOW).is_ok());
    assert!(ring(&texts[..1]).verify(&text(&new), "b1", NOW).is_ok());
    let gone = ring(&texts[..1]).verify(&text(&old), "b1", NOW).unwrap_err();
    assert_eq!(gone, Unverified::UnknownKey);
    let none = TokenKeys::of_keys([]);
    assert_eq!(Token::mint(&none, false, ID, "b1", &[]).err(), Some(Unfit::NoKey));
    // 64 hexadecimal digits are the key itself, in either case.
    let digits = "000102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    assert!(ring(&[digits.into()]).verify(BARE, "b1", NOW).is_ok());
    let shown = format!("{:?} {:?} {:?}", ring(&texts), new, keys().verify(FULL, "b1", NOW));
    assert!(shown.starts_with("TokenKeys(2) Token(0123"), "{shown}");
}

#[test]
fn every_flipped_bit_is_refused() {
    let whole = bytes(FULL);
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(&of_bytes(&flipped));
    }
    // Of the text as well: there is no second text of the same bytes.
    for bit in 0..FULL.len() * 8 {
        let mut flipped = FULL.as_bytes().to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(flipped) = String::from_utf8(flipped) {
            refused(&flipped);
        }
    }
    for other in ["=", "A", "AA", "AAA", "AAAA", ".", " x"] {
        refused(&format!("{FULL}{other}"));
    }
    refused(&FULL.replace('-', "+"));
}

#[test]
fn every_cut_is_refused() {
    for end in 0..FULL.len() {
        refused(FULL.get(..end).unwrap());
    }
    let whole = bytes(FULL);
    for end in 0..whole.len() {
        refused(&of_bytes(&whole[..end]));
        refused(&of_bytes(&whole[whole.len() - end..]));
        for gone in [1, 2, 3, 8, 32] {
            let rest = whole.get(end + gone..).unwrap_or_default();
            refused(&of_bytes(&[&whole[..end], rest].concat()));
        }
    }
}

#[test]
fn caveats_cannot_be_removed_moved_or_transplanted() {
    let other = Token::mint(&keys(), true, TokenId(9), "b1", &[Caveat::Depth(3)]).unwrap();
    let parts = |token: &Token| {
        let caveats: Vec<Vec<u8>> = token.caveats().unwrap().iter().map(parts_of).collect();
        caveats
    };
    let token = mint(&one_of_each());
    let caveats = parts(&token);
    let whole = bytes(FULL);
    let caveats_length: usize = caveats.iter().map(Vec::len).sum();
    let header = &whole[..whole.len() - 32 - caveats_length];
    let tag = &whole[whole.len() - 32..];
    let put =
        |caveats: &[Vec<u8>], tag: &[u8]| of_bytes(&[header, &caveats.concat(), tag].concat());
    assert_eq!(put(&caveats, tag), FULL);
    for gone in 0..caveats.len() {
        let mut fewer = caveats.clone();
        let taken = fewer.remove(gone);
        assert_eq!(refused(&put(&fewer, tag)), Unverified::Altered);
        for place in (0..caveats.len()).filter(|place| *place != gone) {
            let mut moved = fewer.clone();
            moved.insert(place, taken.clone());
            assert_eq!(refused(&put(&moved, tag)), Unverified::Altered);
        }
        let mut twice = caveats.clone();
        twice.push(taken);
        assert_eq!(refused(&put(&twice, tag)), Unverified::Altered);
    }
    // The digests of other tokens, of fewer caveats, and of caveats under another key.
    let foreign = bytes(&text(&other));
    for of_another in [other.clone(), mint(&[]), mint(&one_of_each()[..9])] {
        let tag = bytes(&text(&of_another));
        assert_eq!(refused(&put(&caveats, &tag[tag.len() - 32..])), Unverified::Altered);
    }
    let header_of_another = &foreign[..header.len()];
    let spliced = of_bytes(&[header_of_another, &caveats.concat(), tag].concat());
    assert_eq!(refused(&spliced), Unverified::Altered);
    let rekeyed = TokenKeys::of_keys([&Key::new([9; 32])]);
    let foreign = Token::mint(&rekeyed, true, ID, "b1", &one_of_each()).unwrap();
    assert_eq!(refused(&text(&foreign)), Unverified::UnknownKey);
    // Under our key's name, too.
    let mut named = bytes(&text(&foreign));
    named[..8].copy_from_slice(&whole[..8]);
    assert_eq!(refused(&of_bytes(&named)), Unverified::Altered);
}

/// A caveat as signed, read off a token that has it alone.
fn parts_of(caveat: &Caveat) -> Vec<u8> {
    let (with, without) =
        (bytes(&text(&mint(std::slice::from_ref(caveat)))), bytes(&text(&mint(&[]))));
    with[without.len() - 32..with.len() - 32].to_vec()
}

#[test]
fn signature_is_checked_before_the_caveats() {
    let bare = text(&mint(&[]));
    let unknown = appended(&bare, &signed(11, b"x"));
    assert_eq!(refused(&unknown), Unverified::UnknownCaveat { place: 1, kind: 11 });
    assert!(Token::parse(&unknown).unwrap().caveats().is_err());
    for kind in (0..=u8::MAX).filter(|kind| !(1..=10).contains(kind)) {
        assert!(matches!(
            refused(&appended(&bare, &signed(kind, b""))),
            Unverified::UnknownCaveat { .. }
        ));
    }
    // An unknown caveat, expiry or book of a token that is altered tells nothing.
    let mut altered = bytes(&unknown);
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&of_bytes(&altered)), Unverified::Altered);

    let long = "x".repeat(129);
    let wrong: [(u8, &[u8]); 20] = [
        (1, b""),
        (1, b"1234567"),
        (1, b"123456789"),
        (2, b""),
        (2, b"a/b"),
        (3, b" , ,"),
        (3, b"[ab]"),
        (3, b"\xff"),
        (4, b"/x"),
        (5, b""),
        (5, b"two words"),
        (5, "é".as_bytes()),
        (6, b"\0\x20\0\0\0\0\0\0"),
        (7, b""),
        (7, b"12"),
        (8, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        (9, b"1"),
        (10, b""),
        (10, b"a\nb"),
        (10, long.as_bytes()),
    ];
    for (kind, bytes) in wrong {
        let told = refused(&appended(&bare, &signed(kind, bytes)));
        assert!(matches!(told, Unverified::BadCaveat { place: 1, .. }), "{kind} {bytes:?}: {told}");
    }

    let expired = text(&mint(&[Caveat::Expires(NOW + 1), Caveat::Expires(NOW)]));
    assert_eq!(refused(&expired).to_string(), "the token expired at 2026-09-21T14:13:20.000Z");
    assert!(keys().verify(&expired, "b1", NOW - 1).is_ok());
    assert_eq!(keys().verify(&bare, "b2", NOW).unwrap_err(), Unverified::OtherNamespace);
    let tenants = text(&mint(&[Caveat::Tenant("a".into()), Caveat::Tenant("b".into())]));
    assert_eq!(refused(&tenants), Unverified::Tenants(TwoTenants));
    let same = text(&mint(&[Caveat::Tenant("a".into()), Caveat::Tenant("a".into())]));
    assert_eq!(keys().verify(&same, "b1", NOW).unwrap().caveats().tenant(), Ok(Some("a")));

    let ceiling = Caveat::Ceiling(credits(5));
    let penniless = Token::mint(&keys(), false, ID, "b1", &[]).unwrap();
    assert_eq!(penniless.clone().narrow(&ceiling).err(), Some(Unfit::NoAccount));
    let forced = appended(&text(&penniless), &parts_of(&ceiling));
    assert_eq!(refused(&forced), Unverified::CeilingWithoutAccount);
}

#[test]
fn text_that_is_no_token_is_explained() {
    for (text, expected) in [
        ("", UnreadableToken::NoToken),
        ("Bearer ", UnreadableToken::NoToken),
        ("Basic gwt1.AAAA", UnreadableToken::NoToken),
        ("gwt2.AAAA", UnreadableToken::NoToken),
        ("GWT1.AAAA", UnreadableToken::NoToken),
        ("eyJhbGciOiJIUzI1NiJ9.e30.x", UnreadableToken::NoToken),
        ("eyJ2IjoxLCJpZCI6IngiLCJjIjpbXX0=", UnreadableToken::OtherSystem),
        ("Bearer eyJ2IjoxLCJpZCI6IngiLCJjIjpbXX0=", UnreadableToken::OtherSystem),
        ("gwt1.", UnreadableToken::Truncated),
        ("gwt1.AAAA", UnreadableToken::Truncated),
        ("gwt1.A", UnreadableToken::Malformed),
        ("gwt1.AB", UnreadableToken::Malformed),
        ("gwt1.AA==", UnreadableToken::Malformed),
        ("gwt1.A A\n", UnreadableToken::Malformed),
        ("gwt1.é", UnreadableToken::Malformed),
    ] {
        assert_eq!(refused(text), Unverified::Unreadable(expected), "{text}");
    }
    assert!(refused("eyJ2Ijox").to_string().contains("`tollgate token mint`"));
}

#[test]
fn tokens_have_an_end() {
    let no_op = Caveat::Depth(u8::MAX);
    let fits = mint(&vec![no_op.clone(); MOST_CAVEATS]);
    assert!(keys().verify(&text(&fits), "b1", NOW).is_ok());
    assert_eq!(fits.clone().narrow(&no_op).err(), Some(Unfit::TooManyCaveats));
    let too_many = appended(&text(&fits), &parts_of(&no_op));
    assert_eq!(refused(&too_many), Unverified::Unreadable(UnreadableToken::TooManyCaveats));
    // A thousand, and a hundred thousand, each properly signed; the end of each is read in no time,
    // and without a stack frame each.
    for (count, expected) in
        [(900, UnreadableToken::TooManyCaveats), (100_000, UnreadableToken::TooLong)]
    {
        let whole = bytes(&text(&mint(&[])));
        let (body, tag) = whole.split_last_chunk::<32>().unwrap();
        let (caveat, mut tag) = (signed(7, b""), *tag);
        (0..count).for_each(|_| tag = Key::new(tag).mac(&caveat));
        let nested = of_bytes(&[body, &caveat.repeat(count), &tag].concat());
        assert_eq!(refused(&nested), Unverified::Unreadable(expected), "{count}");
    }

    // The longest there is, and one byte more.
    let longest = (0..4000)
        .map(|length| {
            Token::mint(&keys(), true, ID, "b1", &[Caveat::Tools(scope(&"x".repeat(length + 1)))])
        })
        .map_while(Result::ok)
        .last()
        .unwrap();
    let longest = text(&longest);
    assert!((MOST_BYTES - 1..=MOST_BYTES).contains(&longest.len()), "{}", longest.len());
    assert!(keys().verify(&longest, "b1", NOW).is_ok());
    let over = format!("gwt1.{}", "A".repeat(MOST_BYTES + 1 - 5));
    assert_eq!(refused(&over), Unverified::Unreadable(UnreadableToken::TooLong));
    let under = format!("gwt1.{}", "A".repeat(MOST_BYTES - 5));
    assert_ne!(refused(&under), Unverified::Unreadable(UnreadableToken::TooLong));
    let wide = Caveat::Tools(scope(&"x".repeat(70_000)));
    assert!(matches!(mint(&[]).narrow(&wide), Err(Unfit::Caveat(_))));
    let book = "b".repeat(256);
    assert_eq!(Token::mint(&keys(), true, ID, &book, &[]).err(), Some(Unfit::Namespace));
    for meaningless in [
        Caveat::Agent("two words".into()),
        Caveat::Tenant(String::new()),
        Caveat::Servers(scope("a/b")),
    ] {
        assert!(matches!(mint(&[]).narrow(&meaningless), Err(Unfit::Caveat(_))), "{meaningless}");
    }
}

#[test]
fn narrowing_a_thousand_times_makes_no_account() {
    let token = mint(&[Caveat::Ceiling(credits(10))]);
    let named = keys().verify(&text(&token), "b1", NOW).unwrap().ceilings().to_vec();
    for n in 0..1000 {
        let narrowed = token.clone().narrow(&Caveat::Expires(NOW + 1 + n)).unwrap();
        let verified = keys().verify(&text(&narrowed), "b1", NOW).unwrap();
        assert_eq!((verified.id(), verified.has_account()), (ID, true));
        assert_eq!(verified.ceilings(), named);
    }
    // Another ceiling has another name, and both count.
    let twice = token.narrow(&Caveat::Ceiling(credits(10))).unwrap();
    let twice = keys().verify(&text(&twice), "b1", NOW).unwrap();
    assert_eq!(twice.ceilings()[..1], named);
    assert_ne!(twice.ceilings()[1].0, named[0].0);
}

#[test]
fn random_bytes_are_refused_and_nothing_else_happens() {
    let mut state = 0x7011_6a7e_u64;
    let mut next = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let whole = bytes(FULL);
    for _ in 0..30_000 {
        let length = next() as usize % 200;
        let noise: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        refused(&of_bytes(&noise));
        refused(&String::from_utf8_lossy(&noise));
        let from = next() as usize % whole.len();
        let mut patched = whole.clone();
        patched.splice(from..(from + 3).min(whole.len()), noise.iter().copied().take(4));
        if patched != whole {
            refused(&of_bytes(&patched));
        }
    }
}
