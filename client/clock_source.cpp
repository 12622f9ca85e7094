#include "client/clock_source.hpp"

#include <memory>

namespace tiercache {

namespace {

Status no_clock_status(bool ask_server, std::string_view name) {
    if (ask_server) {
        return {StatusCode::unavailable, "PostgreSQL has not told the name of its clock table yet"};
    }
    if (name == "none") return {StatusCode::unavailable, "the options say to use no clock table"};
    return Status();
}

}  // namespace

ClockSource::ClockSource(const std::string& name)
    : ask_server_(name.empty()),
      name_(name == "none" ? std::string() : name),
      status_(no_clock_status(name.empty(), name)) {}

Status ClockSource::open_named() {
    if (ask_server_) return Status();
    const std::scoped_lock lock(mutex_);
    return name_.empty() ? Status() : map_current_name();
}

void ClockSource::server_told(std::string_view name) noexcept {
    if (!ask_server_) return;
    try {
        const std::scoped_lock lock(mutex_);
        if (name.empty()) {
            status_ =
                Status(StatusCode::unavailable,
                       "the server told no clock table; set shared_preload_libraries = 'tiercache' there");
            name_.clear();
            current_.withdraw();
        } else if (name != name_) {
            name_ = name;
            current_.withdraw();
            (void)map_current_name();
        }
    } catch (...) {
        current_.withdraw();  // no memory: strict reads go to PostgreSQL
    }
}

void ClockSource::refresh() noexcept {
    try {
        const std::scoped_lock lock(mutex_);
        if (name_.empty()) return;
        const ClockFile* file = current_.get();
        if (file == nullptr || !file->still_current()) (void)map_current_name();
    } catch (...) {
        // No memory: the next refresh tries again.
    }
}

Status ClockSource::status() const {
    const std::scoped_lock lock(mutex_);
    return status_;
}

Status ClockSource::map_current_name() {
    const auto same = [this](const ClockFile& file) { return file.name() == name_ && file.still_current(); };
    if (current_.republish(same)) return status_ = Status();
    Result<ClockFile> opened = ClockFile::open(name_);
    if (!opened.ok()) return status_ = opened.status();
    if (!current_.publish(std::make_unique<ClockFile>(std::move(opened).value()))) {
        current_.withdraw();
        return status_ = Status(StatusCode::unavailable,
                                "the clock table was replaced too often; open the cache again");
    }
    return status_ = Status();
}

}  // namespace tiercache
