//! The token that says who the program is. Nothing here prints one.

use std::{
    env::{self, VarError},
    fmt,
    path::Path,
};

use lhttp::client::Builder;

use crate::{args::Args, failure::Failure, input::read_file};

/// The environment variable with the token.
const VARIABLE: &str = "LHTTP_TOKEN";

/// A token from the command line.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The builder with the token of `--token`, of `--token-file` or of the environment; the first that there is.
pub(crate) fn with_token(client: Builder, args: &Args) -> Result<Builder, Failure> {
    if let Some(Secret(token)) = &args.token {
        return Ok(client.token(token));
    }
    if let Some(file) = args.token_file.clone() {
        // A wrong file is told before anything is tried.
        read(&file)?;
        return Ok(client.token_source(move || read(&file).map_err(|failure| failure.sentence().into())));
    }
    match env::var(VARIABLE) {
        Ok(token) if token.is_empty() => Ok(client),
        Ok(token) => Ok(client.token(token)),
        Err(VarError::NotPresent) => Ok(client),
        Err(VarError::NotUnicode(_)) => Err(Failure::Usage(format!("{VARIABLE} is not a token"))),
    }
}

/// The token in a file, without the blanks and line ends around it.
fn read(file: &Path) -> Result<String, Failure> {
    let text = String::from_utf8(read_file(file)?).map(|text| text.trim().to_owned());
    match text {
        Ok(token) if !token.is_empty() => Ok(token),
        _ => Err(Failure::Usage(format!("{}: there is no token in it", file.display()))),
    }
}
