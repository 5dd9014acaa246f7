//! CloudFront: it takes minutes until a change is everywhere, and only what is off is deleted.

use std::sync::{Arc, Mutex};

use libtest_mimic::Failed;
use vrooli_deploy_core::provider::ProviderError;
use vrooli_deploy_tests::conformance::Sample;
use vrooli_deploy_tests::moto::wire::{action, changes};

use crate::fixture::AwsFixture;
use crate::rig::looks_until_deployed;
use crate::samples::samples;

fn said(error: ProviderError) -> String {
    error.to_string()
}

fn sample() -> Sample {
    let mut sample = samples().into_iter().find(|one| one.kind.as_str() == "aws.distribution").unwrap();
    sample.spec["origin"] = "a.example.com".into();
    sample
}

pub(crate) async fn waited_for(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let address = fixture.emulator.address();
    looks_until_deployed(address, 3);
    let made = place.make(&sample(), &sample().spec).await;
    looks_until_deployed(address, 1);
    made.map_err(said)?;
    let looks = place.account.calls().get("cloudfront:GetDistribution").copied().unwrap_or(0);
    // The last one reads back.
    if looks != 4 {
        return Err(format!("{looks} looks").into());
    }
    place.empty().await.map_err(Failed::from)
}

/// The emulator deletes what serves, too.
pub(crate) async fn off_before_deleted(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    place.make(&sample(), &sample().spec).await.map_err(said)?;
    let done = Arc::new(Mutex::new(Vec::new()));
    let all = place.all().await.map_err(said)?;
    let seen = Arc::clone(&done);
    place.proxy.break_when(move |request| {
        if changes(request) {
            let off = String::from_utf8_lossy(&request.body).contains("<Enabled>false</Enabled>");
            let method = action(request).split(' ').next().unwrap_or_default().to_owned();
            seen.lock().unwrap().push((method, off));
        }
        None
    });
    for (kind, found) in &all {
        place.provider.delete(&place.cx(), kind, &found.key, &found.id).await.map_err(said)?;
    }
    let done = done.lock().unwrap().clone();
    if done != [("PUT".to_owned(), true), ("DELETE".to_owned(), false)] {
        return Err(format!("{done:?}").into());
    }
    place.empty().await.map_err(Failed::from)
}
