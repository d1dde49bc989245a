//! The command line. clap's help text is these comments.

use std::{path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand};
use lhttp::config::parse_duration;

const AFTER_HELP: &str = "\
Without a command it is a chat: a line goes to the current room, /help lists the rest. Where standard input or output is \
not a terminal it reads the same lines from standard input.

Exit codes:
  0    done
  1    the server refused it, or wants another key
  2    the command line, a command or a file is wrong
  3    there was no connection, or it was lost before the answer, or the answer is broken
  4    timed out
  141  nobody reads the output";

/// The longest `lhttp.info` of a token, in bytes.
const INFO_BYTES_MAX: usize = 1024;

/// Talks LHTTP: subscribes, publishes, and chats.
#[derive(Debug, Parser)]
#[command(name = "lhttp", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The server: ws:// or wss://, its name, and its port if that is not 80 or 443
    #[arg(value_name = "URL", env = "LHTTP_URL", hide_env_values = true, default_value = "ws://127.0.0.1:8081")]
    pub(crate) url: String,

    /// For wss://, trust only the certificates in this PEM file, instead of the system's
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) ca: Option<PathBuf>,

    /// The token (a JWT) that says who you are. Other users of this machine can see a command line; they cannot see the
    /// variable LHTTP_TOKEN, which is read without this option and --token-file
    #[arg(long, value_name = "JWT", global = true, conflicts_with = "token_file")]
    pub(crate) token: Option<crate::identity::Secret>,

    /// Read the token from this file, again for each connection and before the token runs out
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,

    /// How long one attempt to connect may take, in seconds or with a unit, for example 500ms
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s", global = true)]
    pub(crate) connect_timeout: Duration,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the messages of channels as they come, one line each
    Sub(Sub),
    /// Print who is subscribed to a channel
    Presence(Presence),
    /// Publish a text, a file, or each line of standard input, and wait until the server has accepted it
    Pub(Pub),
    /// Show what a server does: connections, messages, latency, memory, busiest channels, slowest readers
    Top(Top),
    /// Print a token for a user, signed with a key, without asking a server
    Token(Token),
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A line is \"[CHANNEL] BODY\", where control characters are escaped, so that no message can do anything to a terminal. \
With --json it is an object: \"channels\", \"command\", \"headers\" as [name, value] pairs, the body as \"body\" if it is \
text, else as \"body_base64\", and \"parts\" if it is multipart.

A lost connection is made again; this is said on standard error. A server may keep the newest messages of a channel: then \
nothing is missed in between, and standard error says if something was. Such messages have an id, the header message-id: \
keep the last one, and come back with --since.

With --presence, \"(joined) [CHANNEL] USER: INFO\" is a user who has come or shows another INFO, and \"(left) [CHANNEL] USER\" \
one who has gone; of hundreds at once the server names some, and \"(more) [CHANNEL] N have come or gone; M are there\" counts \
the others. With --json it is an object with \"channel\", \"joined\", \"left\", \"users\" and \"more\". A server tells this of \
channels whose rule has presence = \"events\". What happens while there is no connection is not told: ask with lhttp presence.")]
pub(crate) struct Sub {
    /// Channels and patterns, for example 'logs.>' or '*.error'
    #[arg(value_name = "CHANNEL", required = true)]
    pub(crate) channels: Vec<String>,

    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,

    /// Begin with the newest messages of each channel that the server has kept: so many, at most 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) last: Option<u16>,

    /// Begin with the messages after the one with this id; for several channels once for each, in their order, and - for
    /// none. With --last, that counts if the server has not kept all of them
    #[arg(long, value_name = "ID")]
    pub(crate) since: Vec<String>,

    /// Print the id of each message before its line, or - without one; with --json it is in the headers
    #[arg(long, conflicts_with = "json")]
    pub(crate) id: bool,

    /// Print who comes and goes, too
    #[arg(long)]
    pub(crate) presence: bool,

    /// Show this text to others who ask who is in the channels, at most 256 bytes
    #[arg(long, value_name = "TEXT")]
    pub(crate) info: Option<String>,

    /// End after this many messages; who comes and goes does not count
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// End after this time: with 4 if --count messages have not come, otherwise with 0
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A line for each user, sorted by name: the user of the token, or ~ and 12 letters and digits for a connection without one; its \
connections; when it came, in UTC; and what it shows, where control characters are escaped. With --json it is one object: \
\"channel\"; \"members\", each with \"user\", \"connections\", \"since\" in Unix seconds, and \"info\" if there is any; and \"more\", \
how many users the server has left out of a list that is too long. Without --json standard error says that.

The server must have a rule for the channel with presence = true or \"events\"; else it is refused, with 404.")]
pub(crate) struct Presence {
    /// The channel; not a pattern
    #[arg(value_name = "CHANNEL")]
    pub(crate) channel: String,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// How long to wait for the answer, in seconds or with a unit, for example 500ms
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without TEXT and --file each line of standard input is a message; the first one that fails ends it, and standard error \
says which line that was.")]
pub(crate) struct Pub {
    /// The channel; several are separated by spaces, in one argument
    #[arg(value_name = "CHANNEL")]
    pub(crate) channel: String,

    /// The body
    #[arg(value_name = "TEXT")]
    pub(crate) text: Option<String>,

    /// Publish this file's bytes as one body; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub(crate) file: Option<PathBuf>,

    /// The message's command
    #[arg(long, value_name = "WORD", default_value = "chat")]
    pub(crate) command: String,

    /// Add a header, NAME:VALUE; may be given several times
    #[arg(long, value_name = "HEADER", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,

    /// How long to wait for each acknowledgement, in seconds or with a unit, for example 500ms
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The figures are those of the page for operators, refreshed each second: q or Ctrl-C ends it. They fit 80 columns and 24 rows. \
Where standard output is no terminal it is --once.

The server must listen for operators: lhttpd --admin 127.0.0.1:9091. If it has a key, put it in the variable LHTTP_ADMIN_KEY. \
For https://, --ca FILE names the certificates to trust.")]
pub(crate) struct Top {
    /// Where the server listens for operators (its option admin), http:// or https://
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:9091")]
    pub(crate) url: String,

    /// Print the figures of one second, and end
    #[arg(long)]
    pub(crate) once: bool,

    /// Print one JSON object a line, each second; with --once a single one
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
This is for tests and scripts: in production the program that knows your users makes their tokens. A token is a JSON Web \
Token; examples/tokens in the sources of lhttp makes one in PHP, Python and Node with nothing but their standard libraries. \
In short, with a secret S:

  head      = base64url of {\"alg\":\"HS256\",\"typ\":\"JWT\"}
  claims    = base64url of {\"sub\":USER,\"exp\":UNIX SECONDS,\"lhttp.subscribe\":[...],\"lhttp.publish\":[...]}
  signature = base64url of HMAC-SHA-256(S, head \".\" claims)
  token     = head \".\" claims \".\" signature

base64url has - and _ for + and /, and no = at the end.

A new secret: openssl rand -hex 32 > FILE; the server takes it with --token-key FILE.")]
pub(crate) struct Token {
    /// The key: a file with the secret that the server has, or with a private key in PEM (RSA, P-256, P-384, Ed25519)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,

    /// The user: at most 128 bytes
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,

    /// Channels and patterns that the user may subscribe to, for example 'room.*'; may be given several times
    #[arg(long, value_name = "CHANNEL")]
    pub(crate) subscribe: Vec<String>,

    /// Channels and patterns that the user may publish to; may be given several times
    #[arg(long, value_name = "CHANNEL")]
    pub(crate) publish: Vec<String>,

    /// How long the token is valid, in seconds or with a unit, for example 30d
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1h")]
    pub(crate) ttl: Duration,

    /// Anything in JSON about the user, at most 1 KiB
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub(crate) info: Option<serde_json::Value>,

    /// The `iss` that the server wants
    #[arg(long, value_name = "TEXT")]
    pub(crate) issuer: Option<String>,

    /// The `aud` that the server wants
    #[arg(long, value_name = "TEXT")]
    pub(crate) audience: Option<String>,

    /// The name of the key in the server's set of keys
    #[arg(long, value_name = "NAME")]
    pub(crate) kid: Option<String>,
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    if text.len() > INFO_BYTES_MAX {
        return Err(format!("it has {} bytes, and a server takes {INFO_BYTES_MAX}", text.len()));
    }
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("{text:?} is not NAME:VALUE"))?;
    Ok((name.to_owned(), value.trim().to_owned()))
}
