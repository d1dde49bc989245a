//! The client of a request that a trusted proxy forwards (PROTOCOL.md §9).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{
    config::ProxyHeader,
    engine::{arrival::Arrival, hub::Hub},
    protocol::{
        forwarded::{of_forwarded, of_x_forwarded_for},
        http::RequestHead,
    },
};

/// Stands for a client whose address the proxy does not know, if the proxy has no address either.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Hub {
    /// The client that this request of a trusted proxy names; none if it names none. A proxy may forward requests of many
    /// clients on one connection, so each request is asked.
    ///
    /// A name that is no address counts as the proxy's own address: a client that brings its proxy to write one shares the
    /// limits with all others that do.
    pub(super) fn client_of(&self, arrival: &Arrival, head: &RequestHead<'_, '_>) -> Option<SocketAddr> {
        let access = &self.limits.access;
        let is_trusted = |ip: IpAddr| access.trusts(Some(ip));
        let (name, client) = match access.proxy_header {
            ProxyHeader::XForwardedFor => {
                ("x-forwarded-for", of_x_forwarded_for(head.header_values("x-forwarded-for"), is_trusted))
            }
            ProxyHeader::Forwarded => ("forwarded", of_forwarded(head.header_values("forwarded"), is_trusted)),
            ProxyHeader::ProxyProtocol => return None, // the connection itself is the client's
        };
        let is_named = head.header_values(name).next().is_some();
        client.or_else(|| is_named.then(|| arrival.peer.unwrap_or(UNKNOWN)))
    }
}
