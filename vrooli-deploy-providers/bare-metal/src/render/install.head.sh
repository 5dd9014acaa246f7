#!/bin/sh
# Prepares one server for an app. Run as root; --dry-run says what would be changed and changes nothing.
# Written by `vrooli-deploy render`: changes by hand are not written over, and are not kept either.
# shellcheck disable=SC2317,SC2329,SC2034 # what any server can have: this one may not have it all
# shellcheck disable=SC2013 # names of packages and ports hold no blanks
set -eu
umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
