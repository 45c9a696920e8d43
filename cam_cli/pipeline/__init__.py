"""One run: discover images, skip what is finished, explain the rest, record every one."""
