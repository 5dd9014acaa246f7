# Prints which packages are older than they were seen last, and which units are still kept from being
# started, as one line of JSON. The packages are the arguments, each
# `name=unit=others that do the same`.
# shellcheck shell=sh disable=SC2034 # names of folders that are not needed here
