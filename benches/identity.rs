//! What it costs to verify the token of a call. Run with `cargo bench --bench identity`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement that fails may panic, and prints what it measured"
)]

use std::{hint::black_box, time::Instant};

use secrecy::ExposeSecret as _;
use tollgate::domain::{
    caveat::Caveat,
    credits::Credits,
    keyed::Key,
    scope::Scope,
    token::{MOST_CAVEATS, Token, TokenId, TokenKeys},
};

const CALLS: usize = 200_000;
const NOW: i64 = 1_790_000_000_000;

fn main() {
    let keys = TokenKeys::of_keys(&[Key::new([1; 32]), Key::new([2; 32])]);
    println!("verification of a token, {CALLS} calls each");
    println!(
        "{:>8} {:>8} {:>10} {:>10} {:>10}",
        "caveats", "bytes", "p50 us", "p99 us", "p99.9 us"
    );
    for count in [0, 1, 8, MOST_CAVEATS] {
        let caveats: Vec<Caveat> = all().into_iter().cycle().take(count).collect();
        let token = Token::mint(&keys, true, TokenId(7), "0123456789abcdef", &caveats).unwrap();
        let text = token.text();
        let mut times: Vec<u64> = (0..CALLS)
            .map(|_| {
                let began = Instant::now();
                let verified =
                    keys.verify(black_box(text.expose_secret()), "0123456789abcdef", NOW);
                black_box(verified.unwrap());
                u64::try_from(began.elapsed().as_nanos()).unwrap()
            })
            .collect();
        times.sort_unstable();
        let at = |share: f64| times[(CALLS as f64 * share) as usize] as f64 / 1000.0;
        let length = text.expose_secret().len();
        println!("{count:>8} {length:>8} {:>10.1} {:>10.1} {:>10.1}", at(0.5), at(0.99), at(0.999));
    }
}

/// Eight caveats, as delegations at depth 8 have them.
fn all() -> Vec<Caveat> {
    let credits = |amount| Credits::new(amount).unwrap();
    vec![
        Caveat::Expires(NOW + 1),
        Caveat::Servers(Scope::parse("db,api_*").unwrap()),
        Caveat::Tools(Scope::parse("get_*,db/query").unwrap()),
        Caveat::Except(Scope::parse("*_all").unwrap()),
        Caveat::Agent("researcher".into()),
        Caveat::MostCost(credits(50)),
        Caveat::Depth(8),
        Caveat::Ceiling(credits(1000)),
    ]
}
