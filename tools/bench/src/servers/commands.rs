//! The command line and the configuration of each server.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Programs, free_address};
use crate::{failure::Failure, tls::Certificate};

const BUN_SCRIPT: &str = include_str!("../../bun-server.js");
/// The path of Bun below this tool's directory, after `npm install`.
const BUN_PACKAGE: &str = "node_modules/@oven/bun-linux-x64/bin/bun";

impl Programs {
    pub(super) fn lhttpd_command(
        &self,
        address: SocketAddr,
        arguments: &[&str],
        certificate: Option<&Certificate>,
    ) -> Result<Command, Failure> {
        let beside = env::current_exe().map_err(Failure::io("cannot find this program"))?.with_file_name("lhttpd");
        let program = self.lhttpd.clone().unwrap_or(beside);
        let hint = "build it (cargo build --release) or give --lhttpd PATH";
        let program = existing("lhttpd", program, hint)?;
        let cpus = self.lhttpd_arg.iter().find_map(|argument| argument.strip_prefix("--cpu-list="));
        let mut command = match cpus {
            None => Command::new(program),
            Some(cpus) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus]).arg(program);
                command
            }
        };
        match certificate {
            None => command.args(["--listen", &address.to_string()]),
            Some(files) => {
                command.args(["--listen", &format!("tls://{address}")]);
                command.arg("--tls-cert").arg(&files.certificate).arg("--tls-key").arg(&files.key)
            }
        };
        command.args(&self.lhttpd_arg).args(arguments);
        if cpus.is_none() {
            command.args(["--cores", "1"]);
        }
        Ok(command)
    }

    fn nats_program(&self) -> Result<PathBuf, Failure> {
        find("nats-server", self.nats.as_ref(), "nats-server", "install it, or give --nats PATH")
    }

    pub(super) fn plain_nats_command(&self, address: SocketAddr) -> Result<Command, Failure> {
        let mut command = Command::new(self.nats_program()?);
        command.args(["-a", &address.ip().to_string(), "-p", &address.port().to_string()]).env("GOMAXPROCS", "1");
        Ok(command)
    }

    pub(super) fn nats_command(
        &self,
        address: SocketAddr,
        files: &Path,
        certificate: Option<&Certificate>,
        jetstream: bool,
    ) -> Result<Command, Failure> {
        let program = self.nats_program()?;
        let (plain, host, port) = (free_address()?.port(), address.ip(), address.port());
        let path = files.join("nats.conf");
        let tls = certificate.map_or("no_tls: true".into(), |files| {
            let (certificate, key) = (files.certificate.display(), files.key.display());
            format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}")
        });
        let keeps = if jetstream {
            format!("jetstream {{ store_dir: \"{}\", max_mem: 4GB, max_file: 4GB }}\n", files.join("kept").display())
        } else {
            String::new()
        };
        let text = format!(
            "host: {host}\nport: {plain}\nping_interval: \"1h\"\n{keeps}\
             websocket {{\n  host: {host}\n  port: {port}\n  {tls}\n}}\n"
        );
        fs::write(&path, text).map_err(Failure::io("cannot write nats-server's configuration"))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(path).env("GOMAXPROCS", "1");
        Ok(command)
    }

    pub(super) fn bun_command(
        &self,
        address: SocketAddr,
        files: &Path,
        certificate: Option<&Certificate>,
    ) -> Result<Command, Failure> {
        let hint = "npm install in tools/bench, or give --bun PATH";
        let given = self.bun.clone().or_else(|| env::var_os("LHTTP_BENCH_BUN").map(PathBuf::from));
        let program = find("Bun", given.as_ref(), "bun", hint).or_else(|failure| {
            if given.is_some() {
                return Err(failure);
            }
            // From the repository's root, or from target/release in it.
            let here = PathBuf::from("tools/bench").join(BUN_PACKAGE);
            let built = env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(3)?.join(&here)));
            [Some(here), built].into_iter().flatten().find(|path| path.is_file()).ok_or(failure)
        })?;
        let script = files.join("bun-server.js");
        fs::write(&script, BUN_SCRIPT).map_err(Failure::io("cannot write Bun's script"))?;
        let mut command = Command::new(program);
        command.arg(script).arg(address.ip().to_string()).arg(address.port().to_string());
        if let Some(certificate) = certificate {
            command.arg(&certificate.certificate).arg(&certificate.key);
        }
        Ok(command)
    }

    pub(super) fn nginx_command(&self, address: SocketAddr, files: &Path) -> Result<Command, Failure> {
        let server = format!("server {{ listen {address}; location / {{ return 200 \"\"; }} }}");
        self.nginx_with("", &server, files)
    }

    /// nginx with Nchan and its defaults, except that it keeps as many messages as wanted, for an hour, and that it has the
    /// memory for them. Clients come over WebSocket, without Nchan's own subprotocol: so it sends the bare messages, its
    /// shortest form.
    pub(super) fn nchan_command(&self, address: SocketAddr, files: &Path, messages: usize) -> Result<Command, Failure> {
        let module = nchan_module(self.nchan.as_ref())?;
        let location = |name: &str, first: &str, role: &str| {
            format!(
                "location ~ ^/{name}/(.+)$ {{\n      {role} websocket;\n      nchan_channel_id $1;\n      \
                 nchan_message_buffer_length {messages};\n      nchan_message_timeout 1h;\n      \
                 nchan_subscriber_first_message {first};\n    }}\n    "
            )
        };
        let server = format!(
            "nchan_shared_memory_size 1g;\n  server {{\n    listen {address} backlog=4096;\n    {}{}{}{}\n  }}",
            location("publish", "newest", "nchan_publisher"),
            location("subscribe", "newest", "nchan_subscriber"),
            location("resume", "oldest", "nchan_subscriber"),
            location("both", "newest", "nchan_pubsub"),
        );
        self.nginx_with(&format!("load_module {};\n", module.display()), &server, files)
    }

    /// nginx for TLS in front of a WebSocket server, with its defaults for everything that is not needed for that.
    pub(super) fn front_command(
        &self,
        address: SocketAddr,
        behind: SocketAddr,
        files: &Path,
        certificate: &Certificate,
    ) -> Result<Command, Failure> {
        let (pem, key) = (certificate.certificate.display(), certificate.key.display());
        let server = format!(
            "server {{\n    listen {address} ssl backlog=4096;\n    ssl_certificate {pem};\n    \
             ssl_certificate_key {key};\n    ssl_protocols TLSv1.3;\n    \
             location / {{\n      proxy_pass http://{behind};\n      proxy_http_version 1.1;\n      \
             proxy_set_header Host $host;\n      proxy_set_header Upgrade $http_upgrade;\n      \
             proxy_set_header Connection upgrade;\n      proxy_read_timeout 1d;\n      proxy_send_timeout 1d;\n    \
             }}\n  }}"
        );
        self.nginx_with("", &server, files)
    }

    fn nginx_with(&self, modules: &str, server: &str, files: &Path) -> Result<Command, Failure> {
        let program = find("nginx", self.nginx.as_ref(), "nginx", "install it, or give --nginx PATH")?;
        let path = files.join("nginx.conf");
        let directory = files.display();
        // Without a master there is only one process, so its CPU time is everything. A connection that is passed on
        // takes two of the worker's.
        let text = format!(
            "{modules}daemon off;\nmaster_process off;\nworker_processes 1;\npid {directory}/pid;\n\
             error_log stderr;\nevents {{ worker_connections 20000; }}\nhttp {{\n  access_log off;\n  \
             keepalive_requests 1000000000;\n  client_body_temp_path {directory};\n  proxy_temp_path {directory};\n  \
             fastcgi_temp_path {directory};\n  uwsgi_temp_path {directory};\n  scgi_temp_path {directory};\n  \
             {server}\n}}\n"
        );
        fs::write(&path, text).map_err(Failure::io("cannot write nginx's configuration"))?;
        let mut command = Command::new(program);
        command.arg("-e").arg("stderr").arg("-p").arg(files).arg("-c").arg(path);
        Ok(command)
    }
}

/// This program as the relay of raw bytes.
pub(super) fn floor(address: SocketAddr, cpu: usize) -> Result<Command, Failure> {
    let program = env::current_exe().map_err(Failure::io("cannot find this program"))?;
    let mut command = Command::new(program);
    command.args(["floor", "--listen", &address.to_string(), "--cpu", &cpu.to_string()]);
    Ok(command)
}

/// Nchan's module for nginx: the given file, or the one in the usual places.
fn nchan_module(given: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    const HINT: &str = "install it (Debian: libnginx-mod-nchan), or give --nchan PATH";
    if let Some(given) = given {
        return existing("Nchan", given.clone(), HINT);
    }
    let places =
        ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules", "/etc/nginx/modules"];
    let files = places.iter().map(|place| Path::new(place).join("ngx_nchan_module.so"));
    let found = files.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| Failure::NotInstalled(format!("Nchan is not installed: {HINT}")))
}

/// The given program, or the one with this name in the usual places.
fn find(name: &str, given: Option<&PathBuf>, file: &str, hint: &str) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return existing(name, given.clone(), hint);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let found = env::split_paths(&path).chain(more).map(|directory| directory.join(file)).find(|path| path.is_file());
    found.ok_or_else(|| Failure::NotInstalled(format!("{name} is not installed: {hint}")))
}

fn existing(name: &str, program: PathBuf, hint: &str) -> Result<PathBuf, Failure> {
    if program.is_file() {
        return Ok(program);
    }
    Err(Failure::NotInstalled(format!("{name} is not at {}: {hint}", program.display())))
}
