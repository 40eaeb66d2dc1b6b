# Read by each `make` that a build script starts (MAKEFILES in config.toml). librdkafka is the one that looks: no C++ wrapper,
# which nothing here links, and no debug information, which the release profile would strip again. A third of its time.
override LIBSUBDIRS := src
CFLAGS += -g0
