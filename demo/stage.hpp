// Everybody who reads in the demo, ready to be asked.
#pragma once

#include <filesystem>
#include <string>

#include "demo/cleanup.hpp"
#include "demo/postgres.hpp"
#include "demo/psql.hpp"
#include "demo/reader_process.hpp"

namespace tiercache::demo {

struct StageOptions {
    std::string conninfo;
    std::string redis;
    std::string psql = "psql";
    std::string shm_prefix;  // of the segments' names
};

// A private temporary folder, removed with what is in it.
class TemporaryFolder {
 public:
    TemporaryFolder();
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
    std::filesystem::path path_;
    Cleanup remove_;
};

// A segment's name, free to use; the segment is removed at the end.
class SegmentName {
 public:
    explicit SegmentName(std::string name);
    [[nodiscard]] const std::string& text() const { return name_; }

 private:
    std::string name_;
    Cleanup remove_;
};

class Stage {
    TemporaryFolder folder_;
    SegmentName host_segment_;
    SegmentName remote_segment_;

 public:
    explicit Stage(const StageOptions& options);

    Database database;  // plain connection: uncached answers, SQL functions
    Database writer;    // another one, that commits
    Psql psql;
    ReaderProcess app;     // L1, L2, L4
    ReaderProcess second;  // shares the app's segment
    ReaderProcess remote;  // a segment of its own, the same Redis
    ReaderProcess direct;  // neither L1 nor L2: tiercache.fetch() alone
};

}  // namespace tiercache::demo
