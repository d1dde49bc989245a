//! Fuzz targets: one for each parser of input from strangers, and one for whole conversations. They are not part of the
//! public API. They are compiled only for tests and with the feature `fuzz`, which is off by default.
//!
//! A target takes bytes and asserts an oracle. It has two drivers: `fuzz/` passes it the inputs that libFuzzer finds,
//! and the tests here pass it inputs that proptest generates.

mod conversation;
mod dice;
mod door;
mod frames;
mod hostile;
mod http;
mod messages;
mod names;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "upstream")]
mod urls;

#[cfg(feature = "nats")]
pub use self::nats::nats;
#[cfg(feature = "tls")]
pub use self::tls::tls_records;
#[cfg(feature = "upstream")]
pub use self::urls::urls;
pub use self::{
    conversation::conversation,
    door::{origins, proxy},
    frames::{cuts, frames},
    http::{chunked, http},
    messages::{messages, multipart},
    names::names,
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Bytes that are mostly words of a grammar, see `Dice::text`.
    fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![3 => 0_u8..40, 1 => any::<u8>()], 0..len)
    }

    fn config(cases: u32) -> ProptestConfig {
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 5_000, ..ProptestConfig::default() }
    }

    macro_rules! targets {
        ($($(#[$meta:meta])* $target:ident, $cases:expr, $len:expr;)+) => {
            $(
                proptest! {
                    #![proptest_config(config($cases))]
                    $(#[$meta])*
                    #[test]
                    fn $target(bytes in bytes($len)) {
                        super::$target(&bytes);
                    }
                }
            )+
        };
    }

    targets! {
        frames, 1000, 100;
        cuts, 300, 200;
        messages, 1000, 100;
        multipart, 1000, 60;
        http, 1000, 100;
        chunked, 1000, 60;
        names, 500, 200;
        proxy, 1000, 40;
        origins, 1000, 60;
        #[cfg(feature = "nats")]
        nats, 300, 100;
        #[cfg(feature = "tls")]
        tls_records, 300, 100;
        #[cfg(feature = "upstream")]
        urls, 1000, 60;
        conversation, 150, 400;
    }
}
