//! Which network addresses a provider may be reached at.
//!
//! Whoever writes a `baseUrl` decides where a sidecar connects to, and a name may resolve to something else tomorrow. So
//! the address that a name resolved to is judged right before it is connected to, each time. What no provider can have
//! (metadata services, multicast, nothing at all) is refused whatever the configuration says; the rest by [`Class`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use bowsprit_crds::provider_config::AddressClass as Class;

/// Where clouds hand out credentials to whoever can reach them: EC2, GCP, Azure, Oracle, `DigitalOcean` (169.254.169.254),
/// ECS and EKS pod identity, Alibaba, Azure's wire server, Oracle's older one.
const METADATA_V4: [Ipv4Addr; 7] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 169, 253),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// The same over IPv6: EC2, EKS pod identity, GCP.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// One that can be allowed.
    Of(Class),
    /// A metadata service: never connected to.
    Metadata,
    /// Unspecified, multicast, broadcast or reserved: no provider lives there.
    Nowhere,
}

impl AddressKind {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Of(Class::Public) => "a public address",
            Self::Of(Class::Private) => "a private address",
            Self::Of(Class::Loopback) => "a loopback address",
            Self::Of(Class::LinkLocal) => "a link-local address",
            Self::Metadata => "the address of a cloud's metadata service",
            Self::Nowhere => "an address that no server has",
        }
    }
}

/// Judges an address. IPv4 inside IPv6 (mapped, NAT64, 6to4) is judged as what it leads to.
pub fn kind(ip: IpAddr) -> AddressKind {
    match ip {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => inner_v4(v6).map_or_else(|| kind_v6(v6), kind_v4),
    }
}

fn kind_v4(ip: Ipv4Addr) -> AddressKind {
    let [a, b, c, _] = ip.octets();
    if METADATA_V4.contains(&ip) {
        return AddressKind::Metadata;
    }
    match (a, b, c) {
        (0 | 224..=255, ..) => AddressKind::Nowhere,
        (127, ..) => AddressKind::Of(Class::Loopback),
        (169, 254, _) => AddressKind::Of(Class::LinkLocal),
        // RFC 1918, carrier-grade NAT (pods of some clouds), protocol assignments, benchmarking.
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) => {
            AddressKind::Of(Class::Private)
        }
        _ => AddressKind::Of(Class::Public),
    }
}

fn kind_v6(ip: Ipv6Addr) -> AddressKind {
    if METADATA_V6.contains(&ip) {
        return AddressKind::Metadata;
    }
    if ip.is_unspecified() || ip.is_multicast() {
        return AddressKind::Nowhere;
    }
    if ip.is_loopback() {
        return AddressKind::Of(Class::Loopback);
    }
    match ip.segments().first().copied().unwrap_or_default() {
        0xfe80..=0xfebf => AddressKind::Of(Class::LinkLocal),
        // Unique local addresses, and site-local ones, which some networks still use.
        0xfc00..=0xfdff | 0xfec0..=0xfeff => AddressKind::Of(Class::Private),
        _ => AddressKind::Of(Class::Public),
    }
}

/// The IPv4 address that an IPv6 one leads to: `::ffff:a.b.c.d`, `::a.b.c.d`, `64:ff9b::a.b.c.d`, `2002:aabb:ccdd::`.
fn inner_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0, high @ 1..=u16::MAX, low]
        | [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// The classes that a provider may be reached at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    allowed: Vec<Class>,
}

impl Policy {
    /// These and no others.
    pub fn new(allowed: impl IntoIterator<Item = Class>) -> Self {
        let mut allowed: Vec<Class> = allowed.into_iter().collect();
        allowed.sort_unstable();
        allowed.dedup();
        Self { allowed }
    }

    /// The same and this one.
    #[must_use]
    pub fn and(&self, class: Class) -> Self {
        Self::new(self.allowed.iter().copied().chain([class]))
    }

    /// Whether a provider may be reached at this address; if not, what it is.
    pub fn check(&self, ip: IpAddr) -> Result<(), AddressKind> {
        match kind(ip) {
            AddressKind::Of(class) if self.allowed.contains(&class) => Ok(()),
            kind => Err(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> AddressKind {
        kind(text.parse().unwrap())
    }

    #[test]
    fn every_address_is_what_it_leads_to() {
        for (class, addresses) in [
            (
                Class::Public,
                &["160.79.104.10", "8.8.8.8", "172.32.0.1", "2607:6bc0::10"][..],
            ),
            (
                Class::Private,
                &[
                    "10.0.0.7",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "100.64.0.1",
                    "fd12::1",
                    "::ffff:10.0.0.7",
                ],
            ),
            (
                Class::Loopback,
                &[
                    "127.0.0.1",
                    "127.8.0.1",
                    "::1",
                    "::ffff:127.0.0.1",
                    "64:ff9b::127.0.0.1",
                ],
            ),
            (Class::LinkLocal, &["169.254.1.1", "fe80::1", "febf::1"]),
        ] {
            for address in addresses {
                assert_eq!(of(address), AddressKind::Of(class), "{address}");
            }
        }
    }

    #[test]
    fn metadata_services_and_nowhere_are_never_allowed() {
        let everything = Policy::new([Class::Public, Class::Private, Class::Loopback, Class::LinkLocal]);
        for forbidden in [
            "169.254.169.254",
            "169.254.170.23",
            "100.100.100.200",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::",
            "::169.254.169.254",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "0.0.0.0",
            "::",
        ] {
            assert!(everything.check(forbidden.parse().unwrap()).is_err(), "{forbidden}");
        }
    }

    #[test]
    fn a_policy_allows_its_classes_and_no_other() {
        let public = Policy::new([Class::Public]);
        assert_eq!(public.check("8.8.8.8".parse().unwrap()), Ok(()));
        assert_eq!(
            public.check("10.0.0.1".parse().unwrap()),
            Err(AddressKind::Of(Class::Private))
        );
        assert_eq!(public.and(Class::Private).check("10.0.0.1".parse().unwrap()), Ok(()));
    }
}
