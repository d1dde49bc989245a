//! What a token says, and which of that is accepted.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{Claims, Invalid, LEEWAY_SECONDS};
use crate::protocol::channel;

/// The most names in `lhttp.subscribe`, and in `lhttp.publish`.
const NAMES_MAX: usize = 64;
/// The longest user, in bytes.
const USER_BYTES_MAX: usize = 128;
/// The longest `lhttp.info`, in bytes of JSON.
const INFO_BYTES_MAX: usize = 1024;
/// The end of the year 9999. A later `exp` counts as this one, so that sums of times do not overflow.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// The values that the claims of each token must have.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// `token-issuer`.
    pub(super) issuer: Option<String>,
    /// `token-audience`.
    pub(super) audience: Option<String>,
}

/// The claims as they stand in a token. What costs memory is left as text until the signature is known to be right.
#[derive(Deserialize)]
pub(super) struct Said<'t> {
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(borrow)]
    iss: Option<Cow<'t, str>>,
    #[serde(borrow)]
    aud: Option<&'t RawValue>,
    #[serde(borrow)]
    sub: Option<Cow<'t, str>>,
    #[serde(borrow, rename = "lhttp.subscribe")]
    subscribe: Option<&'t RawValue>,
    #[serde(borrow, rename = "lhttp.publish")]
    publish: Option<&'t RawValue>,
    #[serde(borrow, rename = "lhttp.info")]
    info: Option<&'t RawValue>,
    /// Some issuers make nested objects of names with dots. Such a token would silently allow nothing.
    lhttp: Option<IgnoredAny>,
}

/// RFC 7519 §4.1.3: one text or a list of texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience<'t> {
    #[serde(borrow)]
    One(Cow<'t, str>),
    Many(Vec<Cow<'t, str>>),
}

impl<'t> Said<'t> {
    /// Reads the claims. A claim of ours that stands there twice is an error.
    ///
    /// # Errors
    /// [`Invalid::Claims`].
    pub(super) fn read(text: &'t str) -> Result<Self, Invalid> {
        // serde would take the values of an array for those of an object.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Invalid::Claims);
        }
        serde_json::from_str(text).map_err(|_| Invalid::Claims)
    }

    /// Checks what is cheap to check: times, issuer, audience, and the user.
    ///
    /// # Errors
    /// The first reason against the token.
    pub(super) fn check(&self, expected: &Expected, now: u64) -> Result<(), Invalid> {
        let expires = seconds(self.exp.ok_or(Invalid::Claims)?);
        if is_over(expires, now) {
            return Err(Invalid::Expired);
        }
        if is_early(self.not_before(), now) {
            return Err(Invalid::NotYet);
        }
        if expected.issuer.is_some() && self.iss.as_deref() != expected.issuer.as_deref() {
            return Err(Invalid::Issuer);
        }
        if let Some(audience) = &expected.audience
            && !self.is_for(audience)
        {
            return Err(Invalid::Audience);
        }
        match &self.sub {
            Some(user) if is_user(user) => Ok(()),
            _ => Err(Invalid::User),
        }
    }

    /// `nbf`: Unix seconds, without leeway; 0 if the token has none.
    pub(super) fn not_before(&self) -> u64 {
        self.nbf.map_or(0, seconds)
    }

    /// The claims of a token whose signature is right and that has passed [`Said::check`].
    ///
    /// # Errors
    /// [`Invalid::Claims`]: a list or `lhttp.info` is not what it must be.
    pub(super) fn into_claims(self) -> Result<Claims, Invalid> {
        let info = self.info.map(RawValue::get);
        let is_long = info.is_some_and(|info| info.len() > INFO_BYTES_MAX);
        if is_long || self.lhttp.is_some() {
            return Err(Invalid::Claims);
        }
        Ok(Claims {
            user: self.sub.ok_or(Invalid::User)?.into(),
            subscribe: names(self.subscribe)?,
            publish: names(self.publish)?,
            info: info.map(Box::from),
            expires: seconds(self.exp.ok_or(Invalid::Claims)?),
        })
    }

    fn is_for(&self, audience: &str) -> bool {
        match self.aud.map(|aud| serde_json::from_str(aud.get())) {
            Some(Ok(Audience::One(one))) => one == audience,
            Some(Ok(Audience::Many(many))) => many.iter().any(|one| one == audience),
            Some(Err(_)) | None => false,
        }
    }
}

/// True if a token with this `exp` has expired.
pub(super) fn is_over(expires: u64, now: u64) -> bool {
    now >= expires.saturating_add(LEEWAY_SECONDS)
}

/// True if a token with this `nbf` is not valid yet.
pub(super) fn is_early(not_before: u64, now: u64) -> bool {
    not_before > now.saturating_add(LEEWAY_SECONDS)
}

/// A user may stand in a header line: no control character, and no space that a reader of the line would cut off.
fn is_user(user: &str) -> bool {
    (1..=USER_BYTES_MAX).contains(&user.len()) && !user.contains(char::is_control) && user.trim() == user
}

/// RFC 7519 §2, NumericDate: seconds, which may have a fraction.
fn seconds(date: f64) -> u64 {
    // The cast rounds down, and makes 0 of what is negative.
    date.min(LAST_SECOND) as u64
}

/// A list of channels and patterns; an empty one if the claim is missing.
fn names(list: Option<&RawValue>) -> Result<Box<[Box<str>]>, Invalid> {
    let Some(list) = list else { return Ok(Box::default()) };
    let names: Vec<Box<str>> = serde_json::from_str(list.get()).map_err(|_| Invalid::Claims)?;
    let mut bytes = names.iter().map(|name| name.as_bytes());
    if names.len() > NAMES_MAX || !bytes.all(|name| channel::check_subscribe(name).is_ok()) {
        return Err(Invalid::Claims);
    }
    Ok(names.into())
}
