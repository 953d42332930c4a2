//! Which addresses a server may have: public ones, and those that its settings allow.
//!
//! A server's name, or one that it redirects to, may resolve to this machine or its network, whose
//! services trust their neighbours. So addresses are checked after they are resolved, and those
//! that are refused are never connected to.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::domain::settings::AllowPrivate;

/// What to say of an address that is refused.
pub(super) const REFUSED: &str =
    "its address is not public; if that is meant, add `\"allowPrivate\": true` to its entry";

/// IPv4 networks that are not public (IANA special-purpose registry), and where Azure has the
/// services of a machine's host.
const SPECIAL_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// IPv6 networks that are not public, those that carry IPv4 addresses through translators included.
const SPECIAL_V6: [(Ipv6Addr, u8); 14] = [
    (Ipv6Addr::UNSPECIFIED, 96),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// Resolves names, and drops the addresses that may not be reached.
#[derive(Clone, Debug)]
pub struct Guard(pub AllowPrivate);

impl Guard {
    /// Whether the address may be reached.
    fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match &self.0 {
            AllowPrivate::All => true,
            AllowPrivate::Only(nets) if nets.iter().any(|net| net.contains(&address)) => true,
            _ => is_public(address),
        }
    }

    /// Refuses a URL whose host is an address that may not be reached, or this machine by name; other
    /// names are checked when they are resolved.
    pub fn check(&self, url: &Url) -> Result<(), String> {
        let admitted = match url.host() {
            Some(Host::Ipv4(address)) => self.admits(address.into()),
            Some(Host::Ipv6(address)) => self.admits(address.into()),
            Some(Host::Domain(name)) if is_this_machine(name) => {
                self.admits(Ipv4Addr::LOCALHOST.into()) || self.admits(Ipv6Addr::LOCALHOST.into())
            }
            _ => true,
        };
        if admitted { Ok(()) } else { Err(REFUSED.into()) }
    }

    async fn lookup(self, name: String) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<_> = tokio::net::lookup_host((name, 0)).await?.collect();
        let admitted: Vec<_> =
            found.iter().copied().filter(|address| self.admits(address.ip())).collect();
        match admitted.is_empty() && !found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::PermissionDenied, REFUSED)),
            false => Ok(admitted),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = guard.lookup(name.as_str().to_owned()).await?;
            Ok::<Addrs, _>(Box::new(addresses.into_iter()))
        })
    }
}

/// The names that always mean this machine (RFC 6761).
fn is_this_machine(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn is_public(address: IpAddr) -> bool {
    let within = |net: Result<IpNet, _>| net.is_ok_and(|net: IpNet| net.contains(&address));
    match address {
        IpAddr::V4(_) => {
            !SPECIAL_V4.iter().any(|&(net, length)| within(IpNet::new(net.into(), length)))
        }
        IpAddr::V6(_) => {
            !SPECIAL_V6.iter().any(|&(net, length)| within(IpNet::new(net.into(), length)))
        }
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::Guard;
    use crate::domain::settings::AllowPrivate;

    fn check(allow: AllowPrivate, url: &str) -> bool {
        Guard(allow).check(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn only_public_addresses_are_admitted_by_default() {
        let refused = [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0.0.0.0/",
            "http://10.1.2.3/",
            "http://172.31.0.1/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://169.254.169.254/latest/",
            "http://[::1]/",
            "http://[::]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://224.0.0.1/",
            "http://168.63.129.16/metadata",
            "http://[::ffff:0:7f00:1]/",
            "http://[3fff::1]/",
            "http://localhost:8080/mcp",
            "http://LocalHost./",
            "http://a.localhost/",
        ];
        for url in refused {
            assert!(!check(AllowPrivate::None, url), "{url}");
            assert!(check(AllowPrivate::All, url), "{url}");
        }
        for url in [
            "http://1.1.1.1/",
            "http://[2606:4700::1111]/",
            "https://example.com/",
            "http://localhost.example.com/",
        ] {
            assert!(check(AllowPrivate::None, url), "{url}");
        }
        let only = || AllowPrivate::Only(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(check(only(), "http://10.200.0.1/"));
        assert!(check(only(), "http://[::ffff:10.0.0.1]/"));
        assert!(!check(only(), "http://127.0.0.1/"));
    }
}
