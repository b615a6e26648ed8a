//! The `guestinspect` command: its options, and its exit status.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use guestfs::appliance::vm::{Access, Drive, Format, Location};
use guestfs::libvirt::Libvirt;
use guestmount::inspection::run::{self, Applications, GivenGuest, InspectRequest, Output};
use guestmount::keys::KeyRequest;
use guestmount::report::{one_line, say};
use guestmount::request::GivenDrives;

/// Tell which operating systems are on disk images
///
/// Exit status: 0 all guests were looked at, 1 one or more could not be.
#[derive(Debug, Parser)]
#[command(
    name = "guestinspect",
    version,
    infer_long_args = true,
    override_usage = "guestinspect [OPTIONS] IMAGE...\n       guestinspect [OPTIONS] -a IMAGE [-a IMAGE...]\n       guestinspect [OPTIONS] -d DOMAIN..."
)]
struct Arguments {
    /// Print JSON
    #[arg(long, conflicts_with = "xml")]
    json: bool,

    /// Print XML as virt-inspector does
    #[arg(long)]
    xml: bool,

    /// List the applications in the table, too; JSON and XML always have them
    #[arg(long, conflicts_with_all = ["json", "xml", "no_applications"])]
    applications: bool,

    /// Do not look for applications, which saves time
    #[arg(long)]
    no_applications: bool,

    /// Have icons in JSON, too: PNG in base64
    #[arg(long, requires = "json")]
    icons: bool,

    /// Leave icons out of XML
    #[arg(long, requires = "xml")]
    no_icon: bool,

    /// Look at this many guests at the same time
    #[arg(short = 'P', long, value_name = "N", default_value = "1")]
    parallel: NonZeroUsize,

    /// Take the images as this format (raw, qcow2...)
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// A disk of a guest that has several: all -a are one guest
    #[arg(short = 'a', long = "add", value_name = "IMAGE", value_parser = location())]
    add: Vec<Location>,

    /// A libvirt domain, by its name or UUID; repeat it for more
    #[arg(short = 'd', long, value_name = "NAME")]
    domain: Vec<OsString>,

    /// Ask the libvirt of this hypervisor for the domains of -d
    #[arg(short = 'c', long, value_name = "URI")]
    connect: Option<OsString>,

    /// Open an encrypted device with this key: ID:key:PASSPHRASE or ID:file:PATH, ID a device, its UUID, or all
    #[arg(long, value_name = "SELECTOR")]
    key: Vec<OsString>,

    /// Read the passphrase of each encrypted device from a line of standard input
    #[arg(long)]
    keys_from_stdin: bool,

    /// Show passphrases while they are typed; they are asked for at the terminal when there is one guest
    #[arg(long)]
    echo_keys: bool,

    /// Tell what is being done
    #[arg(short, long)]
    verbose: bool,

    /// The disk images, each of a guest of its own: paths, or URIs of images on other machines
    #[arg(value_name = "IMAGE", required_unless_present_any = ["add", "domain"], value_parser = location())]
    images: Vec<Location>,
}

/// Understands where an image is.
fn location() -> ValueParser {
    OsStringValueParser::new().try_map(|image| Location::of_argument(&image)).into()
}

impl Arguments {
    fn into_request(self) -> Result<InspectRequest, clap::Error> {
        let guests = self.guests();
        let usage = |text: &str| Arguments::command().error(ErrorKind::ArgumentConflict, text);
        if self.keys_from_stdin && self.parallel.get() > 1 && guests.len() > 1 {
            return Err(usage(
                "--keys-from-stdin: which line is meant for which guest is only known when they are looked at one after the other; leave out -P",
            ));
        }
        let keys = KeyRequest::new(&self.key, self.keys_from_stdin, self.echo_keys)
            .map_err(|error| usage(&error.to_string()))?;
        Ok(InspectRequest {
            guests,
            libvirt: Libvirt { uri: self.connect },
            keys,
            parallel: self.parallel,
            output: match (self.json, self.xml) {
                (true, _) => Output::Json,
                (false, true) => Output::Xml,
                (false, false) => Output::Table,
            },
            applications: match (self.no_applications, self.applications) {
                (true, _) => Applications::LeaveOut,
                (false, true) => Applications::List,
                (false, false) => Applications::Count,
            },
            has_icons: self.icons || (self.xml && !self.no_icon),
            is_verbose: self.verbose,
        })
    }

    /// Gives the guests: the one of all `-a`, each domain, and that of each other image.
    fn guests(&self) -> Vec<GivenGuest> {
        let drive = |image: &Location| {
            GivenDrives::Image(Drive { format: self.format, ..Drive::at(image.clone(), Access::ReadOnly) })
        };
        let guest = |images: &[Location]| {
            let first = images.first()?;
            Some(GivenGuest { name: first.to_string(), drives: images.iter().map(drive).collect() })
        };
        let domain = |name: &OsString| GivenGuest {
            name: name.to_string_lossy().into_owned(),
            drives: vec![GivenDrives::Domain(name.clone())],
        };
        let alone = self.images.iter().filter_map(|image| guest(std::slice::from_ref(image)));
        guest(&self.add).into_iter().chain(self.domain.iter().map(domain)).chain(alone).collect()
    }
}

fn main() -> ExitCode {
    let request = match Arguments::try_parse().and_then(Arguments::into_request) {
        Ok(request) => request,
        Err(error) => {
            let is_failure = error.use_stderr();
            // Nothing is left to be done when even that cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::from(is_failure));
        }
    };
    match run::run(&request) {
        Ok(is_complete) => ExitCode::from(u8::from(!is_complete)),
        Err(error) => {
            say(format_args!("guestinspect: {}", one_line(&error)));
            ExitCode::FAILURE
        }
    }
}
