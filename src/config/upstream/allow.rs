//! All of `upstream-allow`: prefixes, the methods that each allows, and the servers that they name.

use std::str::FromStr;

use url::Url;

use super::{Prefix, is_method};

/// The methods of a prefix without methods: those that read, and the one that a form sends.
const METHODS_DEFAULT: [&str; 3] = ["GET", "HEAD", "POST"];

/// The requests that the `upstream` header may make.
#[derive(Debug)]
pub(crate) struct Allow {
    entries: Vec<(Entry, usize)>,
    servers: usize,
}

/// One `upstream-allow`: `[METHOD,METHOD… ]URL-PREFIX`.
#[derive(Debug)]
struct Entry {
    methods: Vec<String>,
    prefix: Prefix,
}

/// Why a request is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Its URL is below no prefix.
    Url,
    /// No prefix of its URL has its method.
    Method,
}

impl Allow {
    /// Reads the option.
    ///
    /// # Errors
    /// One sentence about the first invalid text.
    pub(crate) fn new(texts: &[String]) -> Result<Self, String> {
        let mut allow = Self { entries: Vec::new(), servers: 0 };
        for text in texts {
            let entry: Entry = text.parse()?;
            let known = allow.entries.iter().find(|(other, _)| other.prefix.has_server_of(&entry.prefix));
            let server = known.map_or(allow.servers, |(_, server)| *server);
            allow.servers = allow.servers.max(server + 1);
            allow.entries.push((entry, server));
        }
        Ok(allow)
    }

    /// The number of the server of a URL from [`parse_url`](super::parse_url), if a prefix allows it with this method.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn server(&self, method: &str, url: &Url) -> Result<usize, Denied> {
        let mut denied = Denied::Url;
        for (entry, server) in self.entries.iter().filter(|(entry, _)| entry.prefix.allows(url)) {
            if entry.methods.iter().any(|allowed| allowed == method) {
                return Ok(*server);
            }
            denied = Denied::Method;
        }
        Err(denied)
    }

    /// How many servers (scheme, host and port) the prefixes name; their numbers are below it.
    pub(crate) fn servers(&self) -> usize {
        self.servers
    }

    /// True if a prefix is `https`.
    #[cfg(feature = "tls")]
    pub(crate) fn is_any_secure(&self) -> bool {
        self.entries.iter().any(|(entry, _)| entry.prefix.is_secure())
    }
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((methods, prefix)) = text.split_once(' ') else {
            return Ok(Self { methods: METHODS_DEFAULT.map(str::to_owned).to_vec(), prefix: text.parse()? });
        };
        // Methods are case-sensitive, and servers know them in capitals.
        let is_sound = |method: &str| is_method(method) && !method.bytes().any(|byte| byte.is_ascii_lowercase());
        if !methods.split(',').all(is_sound) {
            return Err(format!(
                "upstream-allow: {methods:?} in {text:?} are not methods: write for example GET,PUT http://host:port/path, \
                 in capitals, without CONNECT and TRACE"
            ));
        }
        Ok(Self { methods: methods.split(',').map(str::to_owned).collect(), prefix: prefix.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_url;

    fn allow(texts: &[&str]) -> Result<Allow, String> {
        Allow::new(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_prefix_has_its_methods_or_the_default_ones_and_several_add_up() {
        let allow = allow(&["http://h/a", "PUT,X-OWN http://h/b", "GET http://h/b/c", "DELETE https://h/a"]).unwrap();
        for (method, url, server) in [
            ("GET", "http://h/a", Ok(0)),
            ("HEAD", "http://h/a/x", Ok(0)),
            ("POST", "http://h/a", Ok(0)),
            ("PUT", "http://h/a", Err(Denied::Method)),
            ("get", "http://h/a", Err(Denied::Method)),
            ("DELETE", "http://h/a", Err(Denied::Method)),
            ("PUT", "http://h/b", Ok(0)),
            ("X-OWN", "http://h/b", Ok(0)),
            ("GET", "http://h/b", Err(Denied::Method)),
            ("GET", "http://h/b/c", Ok(0)),
            ("PUT", "http://h/b/c", Ok(0)),
            ("POST", "http://h/b/c", Err(Denied::Method)),
            ("DELETE", "https://h/a", Ok(1)),
            ("GET", "https://h/a", Err(Denied::Method)),
            ("GET", "http://h/", Err(Denied::Url)),
            ("PUT", "http://i/b", Err(Denied::Url)),
        ] {
            assert_eq!(allow.server(method, &parse_url(url).unwrap()), server, "{method} {url}");
        }
    }

    #[test]
    fn servers_are_counted_by_scheme_host_and_port() {
        let of = |texts: &[&str]| allow(texts).unwrap().servers();
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&["http://h/a", "http://H:80/b", "GET http://h/"]), 1);
        assert_eq!(of(&["http://h/", "http://i/", "http://h:81/", "https://h/", "http://i/x"]), 4);
    }

    #[test]
    fn invalid_methods_keep_the_server_from_starting() {
        for text in [
            " http://h/",
            "GET, http://h/",
            ",GET http://h/",
            "GET;PUT http://h/",
            "get http://h/",
            "G T http://h/",
            "GET  http://h/",
            "CONNECT http://h/",
            "GET,TRACE http://h/",
            "GET http://h/ x",
            "GET",
            "GET ",
        ] {
            let error = allow(&[text]).expect_err(text);
            assert!(error.starts_with("upstream-allow: "), "{error}");
        }
    }
}
