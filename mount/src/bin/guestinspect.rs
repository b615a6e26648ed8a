//! The `guestinspect` command: its options, and its exit status.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};
use guestfs::appliance::vm::{Format, Location};
use guestmount::inspection::run::{self, InspectRequest, Output};
use guestmount::report::{one_line, say};

/// Tell which operating systems are on disk images
///
/// Exit status: 0 all images were looked at, 1 one or more could not be.
#[derive(Debug, Parser)]
#[command(name = "guestinspect", version, infer_long_args = true)]
struct Arguments {
    /// Print JSON
    #[arg(long, conflicts_with = "xml")]
    json: bool,

    /// Print XML as virt-inspector does
    #[arg(long)]
    xml: bool,

    /// Look at this many images at the same time
    #[arg(short = 'P', long, value_name = "N", default_value = "1")]
    parallel: NonZeroUsize,

    /// Take the images as this format (raw, qcow2...)
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// Tell what is being done
    #[arg(short, long)]
    verbose: bool,

    /// The disk images, each of a guest of its own: paths, or URIs of images on other machines
    #[arg(
        value_name = "IMAGE",
        required = true,
        value_parser = OsStringValueParser::new().try_map(|image| Location::of_argument(&image))
    )]
    images: Vec<Location>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let is_failure = error.use_stderr();
            // Nothing is left to be done when even that cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::from(is_failure));
        }
    };
    let request = InspectRequest {
        images: arguments.images,
        format: arguments.format,
        parallel: arguments.parallel,
        output: match (arguments.json, arguments.xml) {
            (true, _) => Output::Json,
            (false, true) => Output::Xml,
            (false, false) => Output::Table,
        },
        is_verbose: arguments.verbose,
    };
    match run::run(&request) {
        Ok(is_complete) => ExitCode::from(u8::from(!is_complete)),
        Err(error) => {
            say(format_args!("guestinspect: {}", one_line(&error)));
            ExitCode::FAILURE
        }
    }
}
