"""Its folder is on the path of the tests below it: `replies` and `nvidia_replies` are theirs."""
