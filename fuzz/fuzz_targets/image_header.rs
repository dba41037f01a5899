//! Any bytes as a picture: no panic, and what passes has sensible dimensions.

#![no_main]

use jpush_gateway::body::{ImageType, UploadChannel, check_picture};
use jpush_gateway_fuzz::images;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let images = images();
    for channel in UploadChannel::ALL {
        for kind in [None, Some(ImageType::Big), Some(ImageType::Icon), Some(ImageType::SmallIcon)] {
            if let Err(fault) = check_picture(file, channel, kind, &images) {
                assert!(fault.message.len() < 200);
            }
        }
    }
});
