#include "demo/sql_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace tiercache::demo {

namespace {

std::string trimmed(const std::string& text) {
    constexpr const char* blank = " \t\r\n";
    const std::size_t first = text.find_first_not_of(blank);
    if (first == std::string::npos) return "";
    return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

SqlFile read_sql_file(const std::filesystem::path& path) {
    std::ifstream in(path);
    SqlFile file{.name = path.stem().string(), .title = {}, .sql = {}};
    if (in.peek() == '-') {
        std::getline(in, file.title);
        file.title = trimmed(file.title.substr(std::min<std::size_t>(2, file.title.size())));
    }
    file.sql = trimmed({std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()});
    if (file.sql.ends_with(';')) file.sql.pop_back();
    if (in.bad() || file.sql.empty())
        throw std::runtime_error(fmt::format("no SQL can be read from {}", path.string()));
    return file;
}

}  // namespace

std::vector<SqlFile> read_sql_folder(const std::filesystem::path& folder) {
    std::error_code error;
    std::vector<SqlFile> files;
    for (const auto& item : std::filesystem::directory_iterator(folder, error)) {
        if (item.path().extension() == ".sql") files.push_back(read_sql_file(item.path()));
    }
    if (error)
        throw std::runtime_error(
            fmt::format("the folder {} can't be read: {}", folder.string(), error.message()));
    if (files.empty())
        throw std::runtime_error(fmt::format("there is no *.sql in the folder {}", folder.string()));
    std::ranges::sort(files, {}, &SqlFile::name);
    return files;
}

}  // namespace tiercache::demo
