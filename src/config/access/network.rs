//! Networks of proxies.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The word for connections over unix sockets, which have no address.
const UNIX: &str = "unix";

/// A proxy, or a network of proxies, that is trusted to tell a client's address: `10.0.0.1`, `10.0.0.0/8`, `::1`, or `unix`
/// for all connections over unix sockets.
///
/// ```
/// use lhttp::config::TrustedProxy;
///
/// let proxies: TrustedProxy = "10.0.0.0/8".parse()?;
/// assert_eq!(proxies.to_string(), "10.0.0.0/8");
/// assert!("10.0.0.1/8".parse::<TrustedProxy>().is_err(), "a network ends in zeros");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(Trusted);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trusted {
    Unix,
    /// The bits of an address behind the first `prefix` are zero.
    Network {
        address: IpAddr,
        prefix: u32,
    },
}

impl TrustedProxy {
    /// Whether a connection comes from here; `None` is a connection over a unix socket.
    pub(crate) fn is(self, peer: Option<IpAddr>) -> bool {
        match (self.0, peer) {
            (Trusted::Unix, None) => true,
            (Trusted::Network { address, prefix }, Some(peer)) => masked(peer.to_canonical(), prefix) == Some(address),
            _ => false,
        }
    }
}

/// The address with zeros behind its first `prefix` bits; none if it has fewer bits.
fn masked(address: IpAddr, prefix: u32) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let zeros = 32_u32.checked_sub(prefix)?;
            let mask = u32::MAX.checked_shl(zeros).unwrap_or(0);
            Some(Ipv4Addr::from_bits(address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let zeros = 128_u32.checked_sub(prefix)?;
            let mask = u128::MAX.checked_shl(zeros).unwrap_or(0);
            Some(Ipv6Addr::from_bits(address.to_bits() & mask).into())
        }
    }
}

impl FromStr for TrustedProxy {
    type Err = String;

    /// # Errors
    /// One sentence that shows the text.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == UNIX {
            return Ok(Self(Trusted::Unix));
        }
        let no_network =
            || format!("{text:?} is no address or network: write for example 10.0.0.1, 10.0.0.0/8 or unix");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| no_network())?;
        if address != address.to_canonical() {
            return Err(format!("{text:?}: write the IPv4 address itself"));
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |prefix: &str| !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            None => bits,
            Some(prefix) if is_number(prefix) => prefix.parse().map_err(|_| no_network())?,
            Some(_) => return Err(no_network()),
        };
        if prefix == 0 {
            return Err(format!("{text:?} is everybody: then each client chooses its own address"));
        }
        match masked(address, prefix) {
            None => Err(no_network()),
            Some(network) if network != address => {
                Err(format!("{text:?}: the network of that length is {network}/{prefix}"))
            }
            Some(_) => Ok(Self(Trusted::Network { address, prefix })),
        }
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Trusted::Unix => f.write_str(UNIX),
            Trusted::Network { address: IpAddr::V4(address), prefix: 32 } => address.fmt(f),
            Trusted::Network { address: IpAddr::V6(address), prefix: 128 } => address.fmt(f),
            Trusted::Network { address, prefix } => write!(f, "{address}/{prefix}"),
        }
    }
}
