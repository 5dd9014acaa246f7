# Looks, and changes nothing. Reads the stack's name, and the name of its user. After host.sh.
read -r stack
read -r user
survey
