# What the guests of the tests run: commands from the console, a line each. Nothing is written there but
# what they write: no echo, no prompt.
stty -F /dev/ttyS0 -echo -onlcr
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
echo guest-is-ready
while IFS= read -r line; do eval "$line"; done
