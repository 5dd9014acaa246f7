# Prints how the firewall is and what its rules are to be, as one line of JSON. The stack's name and its
# ports are the arguments.
# shellcheck shell=sh disable=SC2034,SC2013 # names of folders that are not needed here; ports hold no blanks
