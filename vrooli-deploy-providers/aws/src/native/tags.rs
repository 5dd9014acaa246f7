//! Tags: every service has a type of its own for the same two words.

use vrooli_deploy_core::provider::Result;

use super::unexpected;

/// A tag as a service writes it.
pub(crate) trait SdkTag: Sized {
    /// A tag.
    fn new(name: &str, value: String) -> Result<Self>;
    /// Its name and value.
    fn pair(&self) -> Option<(&str, &str)>;
}

/// For tags whose type takes anything, insists on the name, or on both words.
macro_rules! sdk_tags {
    (may_lack_words: $($lenient:ident)*; have_names: $($named:ident)*; have_both: $($strict:ident)*;) => {
        $(impl SdkTag for $lenient::types::Tag {
            fn new(name: &str, value: String) -> Result<Self> {
                Ok(Self::builder().key(name).value(value).build())
            }
            fn pair(&self) -> Option<(&str, &str)> {
                Some((self.key()?, self.value()?))
            }
        })*
        $(impl SdkTag for $named::types::Tag {
            fn new(name: &str, value: String) -> Result<Self> {
                let tag = Self::builder().key(name).value(value).build();
                tag.map_err(|_| unexpected("tags", "tag"))
            }
            fn pair(&self) -> Option<(&str, &str)> {
                Some((self.key(), self.value()?))
            }
        })*
        $(impl SdkTag for $strict::types::Tag {
            fn new(name: &str, value: String) -> Result<Self> {
                let tag = Self::builder().key(name).value(value).build();
                tag.map_err(|_| unexpected("tags", "tag"))
            }
            fn pair(&self) -> Option<(&str, &str)> {
                Some((self.key(), self.value()))
            }
        })*
    };
}

sdk_tags! {
    may_lack_words: aws_sdk_cloudwatch aws_sdk_ec2 aws_sdk_ecs aws_sdk_elasticache
        aws_sdk_elasticloadbalancingv2 aws_sdk_rds aws_sdk_route53 aws_sdk_secretsmanager;
    have_names: aws_sdk_acm aws_sdk_cloudfront;
    have_both: aws_sdk_ecr aws_sdk_iam aws_sdk_s3;
}

impl SdkTag for aws_sdk_kms::types::Tag {
    fn new(name: &str, value: String) -> Result<Self> {
        let tag = Self::builder().tag_key(name).tag_value(value).build();
        tag.map_err(|_| unexpected("tags", "tag"))
    }
    fn pair(&self) -> Option<(&str, &str)> {
        Some((self.tag_key(), self.tag_value()))
    }
}

impl SdkTag for aws_sdk_budgets::types::ResourceTag {
    fn new(name: &str, value: String) -> Result<Self> {
        let tag = Self::builder().key(name).value(value).build();
        tag.map_err(|_| unexpected("tags", "tag"))
    }
    fn pair(&self) -> Option<(&str, &str)> {
        Some((self.key(), self.value()))
    }
}
