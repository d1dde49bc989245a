//! Options by name and text, for programs that have neither flags nor TOML.

use super::{Config, Declaration, nearest::hint};

impl Config {
    /// Sets one option by its name, `nats-creds` or `nats.creds`, to a value that is written as for the daemon's flag;
    /// an option whose unit [is a list](crate::config::Unit::is_list), such as `listen`, takes several values, separated by
    /// commas. [`Config::validate`] checks that the options fit each other.
    ///
    /// ```
    /// let mut config = lhttp::Config::default();
    /// config.set("max-message", "16KiB")?;
    /// config.set("timeouts.idle", "2m")?;
    /// assert_eq!((config.message_bytes_max, config.idle_timeout.as_secs()), (16 * 1024, 120));
    /// assert!(config.set("max-mesage", "16KiB").is_err());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// One sentence that names the option, and shows the value unless a secret may be in it. Nothing has changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        self.assign(name, |option| option.unit.split(value))
    }

    /// As [`Config::set`], with the values given one by one: a comma in a value does not separate values.
    ///
    /// # Errors
    /// As [`Config::set`]; an option that is not a list takes exactly one value.
    pub fn set_all(&mut self, name: &str, values: &[String]) -> Result<(), String> {
        self.assign(name, |_| values.to_vec())
    }

    fn assign(&mut self, name: &str, values: impl Fn(&Declaration) -> Vec<String>) -> Result<(), String> {
        let Some(option) = Declaration::find(name) else {
            return Err(format!("{name}: there is no such option{}", hint(name, &Self::NAMES)));
        };
        let values = values(option);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        option.read(self, &values).map_err(|sentence| format!("{name}: {sentence}"))
    }
}
