//! A configuration from TOML, or from another format through serde: flat, in sections, or both.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor},
};

use super::{ChannelRule, Config, Declaration, Unit, channels::Rules, nearest::hint};

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let mut reader = Reader { config: Self::default(), given: Vec::new() };
        source.deserialize_map(Top(&mut reader))?;
        Ok(reader.config)
    }
}

/// The options read so far.
struct Reader {
    config: Config,
    /// The options, and the spelling of each.
    given: Vec<(&'static str, String)>,
}

impl Reader {
    /// Notes that the option was given.
    fn note(&mut self, option: &Declaration, spelled: &str) -> Result<(), String> {
        if let Some((_, before)) = self.given.iter().find(|(name, _)| *name == option.name) {
            return Err(match before == spelled {
                true => format!("{spelled} is given twice"),
                false => format!("{before} and {spelled} are the same option: give one of them"),
            });
        }
        self.given.push((option.name, spelled.to_owned()));
        Ok(())
    }
}

/// The keys outside of a section.
struct Top<'a>(&'a mut Reader);

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of options")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == ChannelRule::KEY {
                self.0.config.channels = map.next_value::<Rules>()?.0;
                continue;
            }
            let option = Config::OPTIONS.iter().find(|option| option.name == key);
            let section = Config::OPTIONS.iter().map(|option| option.section).find(|section| *section == key);
            if option.is_none() && section.is_none() {
                return Err(A::Error::custom(unknown(&key)));
            }
            map.next_value_seed(Place { option, spelled: key, section, reader: self.0 })?;
        }
        Ok(())
    }
}

/// The error for this unknown key outside of a section.
fn unknown(key: &str) -> String {
    let mut known: Vec<&str> = Config::NAMES.to_vec();
    known.extend(Config::OPTIONS.iter().map(|option| option.section));
    known.push(ChannelRule::KEY);
    known.dedup();
    format!("{key}: there is no such option and no such section{}", hint(key, &known))
}

/// The error for this unknown key of a section.
fn unknown_in(section: &str, key: &str) -> String {
    if let Some(option) = Config::OPTIONS.iter().find(|option| option.name == key) {
        let (own, key_there) = (option.section, option.key);
        return format!("{key}: there is no such option in [{section}]; it is {key_there} in [{own}]");
    }
    let of_section = Config::OPTIONS.iter().filter(|option| option.section == section);
    let known: Vec<&str> = of_section.map(|option| option.key).collect();
    format!("{key}: there is no such option in [{section}]{}", hint(key, &known))
}

/// The place of a value: the key of an option, the key of a section, or a key that is both, as `nats` is.
struct Place<'a> {
    option: Option<&'static Declaration>,
    spelled: String,
    section: Option<&'static str>,
    reader: &'a mut Reader,
}

impl Place<'_> {
    fn unit(&self) -> Option<Unit> {
        self.option.map(|option| option.unit)
    }

    /// Takes the values at this place.
    fn take<E: Error>(self, texts: &[&str]) -> Result<(), E> {
        let Some(option) = self.option else { return Err(self.refuse(Unexpected::Other("a value"))) };
        self.reader.note(option, &self.spelled).map_err(E::custom)?;
        option.read(&mut self.reader.config, texts).map_err(E::custom)
    }

    /// The error: what would be right, and the value at this place unless it may be a secret.
    fn refuse<E: Error>(self, given: Unexpected<'_>) -> E {
        match self.unit() {
            Some(Unit::Secret) => E::custom("a key is a text in quotes"),
            _ => E::invalid_type(given, &self),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.unit() {
            None => "a section, which is a table of options",
            Some(Unit::Number) => "a number such as 2",
            Some(Unit::Size) => "a size such as 65536 or \"64KiB\"",
            Some(Unit::Time) => "a time such as 25 or \"25s\"",
            Some(Unit::Micros) => "a short time such as 50 or \"50us\"",
            Some(Unit::Switch) => "true or false",
            Some(Unit::Text | Unit::Secret) => "a text in quotes",
            Some(Unit::File | Unit::SecretFile) => "the path of a file",
            Some(Unit::Files | Unit::SecretFiles) => "the path of a file or a list of them",
            Some(Unit::Cpus) => "CPUs such as \"0,2\" or [0, 2]",
            Some(Unit::Address) => "an address such as \"127.0.0.1:8081\" or a list of them",
            Some(Unit::Prefix | Unit::Texts) => "a text or a list of them",
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.unit() {
            None | Some(Unit::Number | Unit::Switch) => Err(self.refuse(Unexpected::Str(text))),
            Some(_) => self.take(&[text]),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        match self.unit() {
            Some(Unit::Number | Unit::Size | Unit::Time | Unit::Micros) => self.take(&[&number.to_string()]),
            _ => Err(self.refuse(Unexpected::Signed(number))),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        match self.unit() {
            Some(Unit::Number | Unit::Size | Unit::Time | Unit::Micros) => self.take(&[&number.to_string()]),
            _ => Err(self.refuse(Unexpected::Unsigned(number))),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        Err(self.refuse(Unexpected::Float(number)))
    }

    fn visit_bool<E: Error>(self, is_on: bool) -> Result<(), E> {
        match self.unit() {
            Some(Unit::Switch) => self.take(&[if is_on { "true" } else { "false" }]),
            _ => Err(self.refuse(Unexpected::Bool(is_on))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut texts: Vec<String> = Vec::new();
        match self.unit() {
            Some(Unit::Cpus) => {
                while let Some(cpu) = items.next_element::<usize>()? {
                    texts.push(cpu.to_string());
                }
                self.take(&[&texts.join(",")])
            }
            Some(unit) if unit.is_list() => {
                while let Some(text) = items.next_element::<String>()? {
                    texts.push(text);
                }
                self.take(&texts.iter().map(String::as_str).collect::<Vec<_>>())
            }
            _ => Err(self.refuse(Unexpected::Seq)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some(section) = self.section else { return Err(self.refuse(Unexpected::Map)) };
        while let Some(key) = map.next_key::<String>()? {
            let mut of_section = Config::OPTIONS.iter().filter(|option| option.section == section);
            let Some(option) = of_section.find(|option| option.key == key) else {
                return Err(A::Error::custom(unknown_in(section, &key)));
            };
            let spelled = format!("{section}.{key}");
            map.next_value_seed(Place { option: Some(option), spelled, section: None, reader: self.reader })?;
        }
        Ok(())
    }
}
